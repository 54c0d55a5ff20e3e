# encoding: utf-8
# frozen_string_literal: true

module MlNormalize
  # An event of our own, which carries ml.schema_version: checked for what every event must have, not altered.
  module Canonical
    MANY = 5 * Foreign::MAX_INPUTS
    # Fields that Logstash keeps for itself: no event that passed through it has them.
    OF_LOGSTASH = java.util.List.of("@metadata", "@version")

    module_function

    # The same java.util.Map, with event.ingested, and its time in the event's form; without what is Logstash's own.
    def check(document, ml, raw, arrival)
      event = document.get("event")
      event = nil unless event.is_a?(Parsing::JMap)
      model = ml.get("model")
      model = nil unless model.is_a?(Parsing::JMap)
      time = check_fields(
        ml.get("schema_version"), event&.get("id"), event&.get("dataset"), model&.get("name"), model&.get("version"),
        document.get("@timestamp"), arrival
      ) { check_inputs(ml.get("input")) if raw.bytesize > MANY }
      document.put("@timestamp", time)
      document.key_set.remove_all(OF_LOGSTASH)
      event.put("ingested", arrival.text)
      document
    end

    # The time of an event with these fields, in the event's form; a block checks what only a prediction has.
    def check_fields(schema_version, id, dataset, model, model_version, at, arrival)
      # The events of each version so far are read. A later one may mean something else: its events wait, whole, in
      # the dead-letter stream until the pipelines are as new as their logger.
      unless schema_version.is_a?(Integer) && schema_version.between?(1, SCHEMA_VERSION)
        raise Refused.new(
          "schema_version",
          "ml.schema_version is #{show(schema_version)}; this version of logging_lib reads 1 to #{SCHEMA_VERSION}"
        )
      end
      raise Refused.new("no_id", "event.id is missing") unless filled?(id)
      unless DATASETS.include?(dataset)
        raise Refused.new("dataset", "event.dataset is #{show(dataset)}, which is not one of #{DATASETS.join(", ")}")
      end
      if dataset == "ml.prediction"
        unless filled?(model) && filled?(model_version)
          raise Refused.new("no_model", "ml.model.name or ml.model.version is missing")
        end
        yield if block_given?
      end
      time = Times.own(at, arrival)
      return time unless time.nil?
      raise Refused.new("timestamp", "@timestamp is #{show(at)}, which is not an ISO 8601 date with a time zone")
    end

    def check_inputs(inputs)
      return unless inputs.is_a?(Parsing::JMap)
      count = inputs.values.sum { |values| values.is_a?(Parsing::JMap) ? values.size : 0 }
      return if count <= Foreign::MAX_INPUTS
      raise Refused.new("too_many_fields", "the event has #{count} inputs; at most #{Foreign::MAX_INPUTS} are accepted")
    end

    def filled?(value)
      value.is_a?(String) && Text.filled?(value)
    end

    def show(value)
      Text.shown(Parsing.to_ruby(value))
    end
  end
end
