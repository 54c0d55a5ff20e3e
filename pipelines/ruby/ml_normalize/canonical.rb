# encoding: utf-8
# frozen_string_literal: true

module MlNormalize
  # An event of our own, which carries ml.schema_version: checked for what every event must have, not altered.
  module Canonical
    MANY = 5 * Foreign::MAX_INPUTS

    module_function

    # The same java.util.Map, with event.ingested.
    def check(document, ml, raw, now)
      version = ml.get("schema_version")
      # The events of each version so far are read. A later one may mean something else: its events wait, whole, in
      # the dead-letter stream until the pipelines are as new as their logger.
      unless version.is_a?(Integer) && version.between?(1, SCHEMA_VERSION)
        raise Refused.new(
          "schema_version",
          "ml.schema_version is #{show(version)}; this version of logging_lib reads 1 to #{SCHEMA_VERSION}"
        )
      end
      event = document.get("event")
      unless event.is_a?(Parsing::JMap) && filled?(event.get("id"))
        raise Refused.new("no_id", "event.id is missing")
      end
      dataset = event.get("dataset")
      unless DATASETS.include?(dataset)
        raise Refused.new("dataset", "event.dataset is #{show(dataset)}, none of #{DATASETS.join(", ")}")
      end
      check_model(ml, raw) if dataset == "ml.prediction"
      check_time(document.get("@timestamp"), now)
      event.put("ingested", Times.written(now))
      document
    end

    def check_model(ml, raw)
      model = ml.get("model")
      unless model.is_a?(Parsing::JMap) && filled?(model.get("name")) && filled?(model.get("version"))
        raise Refused.new("no_model", "ml.model.name or ml.model.version is missing")
      end
      inputs = ml.get("input")
      return unless raw.bytesize > MANY && inputs.is_a?(Parsing::JMap)
      count = inputs.values.sum { |values| values.is_a?(Parsing::JMap) ? values.size : 0 }
      return if count <= Foreign::MAX_INPUTS
      raise Refused.new("too_many_fields", "#{count} fields; at most #{Foreign::MAX_INPUTS} are taken")
    end

    def check_time(at, now)
      moment = at.is_a?(String) ? Times.instant(at, true) : nil
      if moment.nil?
        raise Refused.new("timestamp", "@timestamp is #{show(at)}, which is no ISO 8601 date with a zone")
      end
      Times.raise_if_ahead(moment, now + Times::MAX_AHEAD)
    end

    def filled?(value)
      value.is_a?(String) && !value.empty?
    end

    def show(value)
      Text.shown(Parsing.to_ruby(value))
    end
  end
end
