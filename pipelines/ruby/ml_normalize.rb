# encoding: utf-8
# frozen_string_literal: true

# Any bytes become a canonical event or a dead letter with a reason; nothing is lost, nothing raises.
#
# The Ruby twin of logging_lib/normalize: pipelines/cases says what both must do, to the byte. It needs JRuby and
# Jackson, which Logstash has, and nothing of Logstash itself.
require "set"
require_relative "ml_normalize/errors"
require_relative "ml_normalize/text"
require_relative "ml_normalize/parsing"
require_relative "ml_normalize/times"
require_relative "ml_normalize/names"
require_relative "ml_normalize/payloads"
require_relative "ml_normalize/tables"
require_relative "ml_normalize/aliases"
require_relative "ml_normalize/foreign"
require_relative "ml_normalize/canonical"
require_relative "ml_normalize/batches"
require_relative "ml_normalize/containers"

module MlNormalize
  SCHEMA_VERSION = 1
  ECS_VERSION = "9.2.0"
  DATASETS = %w[ml.prediction ml.label ml.deadletter ml.health ml.start].freeze
  MAX_ORIGINAL = 32_768
  MAX_MESSAGE = 8192

  NA_VALUES = ["", "-", "#N/A", "<NA>", "N/A", "NA", "NULL", "NaN", "NaT", "None", "n/a", "nan", "null"].to_set.freeze

  # What became of an event: the document (a Hash, or a java.util.Map where it is ours), and why it was refused.
  Result = Struct.new(:document, :reason)

  module_function

  # One event's bytes to its canonical form or a dead letter.
  #
  # raw        - a String of bytes, in any encoding; it is not changed.
  # now        - when it arrived, in microseconds since 1970 UTC.
  # na_values  - a Set of the spellings of a missing value in foreign events.
  # aliases    - the Aliases of a file for foreign events, or nil.
  # wrappers   - how many lines of log shippers the event may be wrapped in.
  def normalize(raw, now, na_values = NA_VALUES, aliases = nil, wrappers = Containers::MAX_WRAPPERS)
    arrival = Times::Arrival.at(now)
    document, repaired = Parsing.parse(raw)
    ml = document.get("ml")
    if ml.is_a?(Parsing::JMap) && ml.contains_key("schema_version")
      raise Refused.new("not_json", Parsing::NOT_JSON, "parse") if repaired
      Result.new(Canonical.check(document, ml, raw, arrival), nil)
    else
      Result.new(Foreign.canonical(Parsing.to_ruby(document), raw, arrival, na_values, aliases), nil)
    end
  rescue Refused => refused
    found = Containers.wrapped(document) if wrappers.positive? && Containers::REASONS.include?(refused.reason)
    return refuse(raw, refused.reason, refused.message, now, refused.stage) if found.nil?
    name, line = found
    result = normalize(line, now, na_values, aliases, wrappers - 1)
    return result if result.reason.nil?
    letter = result.document
    message = "the line in `#{name}`: #{letter["error"]["message"]}"
    refuse(raw, result.reason, message, now, letter["ml"]["deadletter"]["stage"])
  end

  # The dead letter of an event that cannot be used.
  def refuse(raw, reason, message, now, stage = "normalize")
    original = raw.byteslice(0, MAX_ORIGINAL).force_encoding(Encoding::UTF_8)
    encoding = "utf-8"
    unless original.valid_encoding?
      original = [original].pack("m0").force_encoding(Encoding::UTF_8)
      encoding = "base64"
    end
    at = Times::Arrival.at(now).text
    Result.new(
      {
        "@timestamp" => at,
        "message" => "dead letter",
        "ecs" => { "version" => ECS_VERSION },
        "event" => {
          "id" => Text.content_id(raw), "kind" => "event", "dataset" => "ml.deadletter",
          "original" => original, "ingested" => at
        },
        "error" => { "type" => reason, "message" => message[0, MAX_MESSAGE] },
        "ml" => {
          "schema_version" => SCHEMA_VERSION,
          "deadletter" => { "stage" => stage, "encoding" => encoding, "size" => raw.bytesize }
        }
      },
      reason
    )
  end
end
