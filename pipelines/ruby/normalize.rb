# encoding: utf-8
# frozen_string_literal: true

# The script of the ruby filter in 30-normalize.conf: an event of an input becomes the events that its bytes hold,
# each in canonical form or as a dead letter. What it does to bytes is in ml_normalize.rb, which needs no Logstash.
#
# script_params:
#   na_values - spellings of a missing value in foreign events, divided by "|"; empty: those of ml_normalize.rb.
#   aliases   - the path of a file of aliases for foreign events; empty: none.
#   now       - the arrival of every event in microseconds since 1970, for tests; absent: the clock.
require File.expand_path("ml_normalize", File.dirname(__FILE__))

# What Beats write beside the line that they read, in `message`.
TEXTS_OF_BEATS = %w[@timestamp @version message stream tags].freeze
OBJECTS_OF_BEATS = %w[agent cloud container docker ecs fields host input kubernetes log orchestrator].freeze
OWN_TIMES = (MlNormalize::Foreign::ALIASES["timestamp"] - ["@timestamp"]).freeze
LATIN = Encoding::ISO_8859_1
BLANK_LINE = /\A[ \t\r\n]*\z/n
REPLACED = "\uFFFD".b.freeze
NOT_UTF8 = "the body has bytes that are not UTF-8, or U+FFFD itself, which Logstash's HTTP input puts in their place: " \
           "write it as \\ufffd"
CLOUD_EVENT = "ce_"

def register(params)
  given = params["na_values"].to_s
  @na_values = given.empty? ? MlNormalize::NA_VALUES : given.split("|", -1).to_set.freeze
  file = params["aliases"].to_s
  @aliases = file.empty? ? nil : MlNormalize::Aliases.read(file)
  @now = params["now"]&.to_i
end

def filter(event)
  now = @now || (java.lang.System.current_time_millis * 1000)
  case event.get("[@metadata][ml_input]")
  when "lines" then [bytes_of(event)].reject { |raw| blank?(raw) }.map { |raw| from_bytes(raw, now) }
  when "body" then bodies(event).map { |raw| from_bytes(raw, now) { refuse_replaced(raw) } }
  else structured(event, now)
  end
end

# A blank line is nothing, whichever way it came.
def blank?(raw)
  first = raw.getbyte(0)
  first.nil? || (first <= 0x20 && raw.b.match?(BLANK_LINE))
end

# The HTTP input decodes a body before any codec sees it, so what was not UTF-8 is lost, and may not pass for a value.
def refuse_replaced(raw)
  raise MlNormalize::Refused.new("not_json", NOT_UTF8, "parse") if raw.b.include?(REPLACED)
end

# The inputs of lines and bodies decode as ISO-8859-1, which keeps every byte: here they are again.
def bytes_of(event)
  event.get("message").to_s.encode(LATIN).force_encoding(Encoding::UTF_8)
end

# The events of an HTTP request. A CloudEvent in binary mode has its attributes in the headers.
def bodies(event)
  body = bytes_of(event)
  headers = event.get("[@metadata][input][http][request][headers]")
  return MlNormalize::Batches.split(body) unless headers.is_a?(Hash) && headers.key?("ce_specversion")
  attributes = headers.select { |name, _| name.start_with?(CLOUD_EVENT) }
  text = attributes.map { |name, value| "#{MlNormalize::Text.json(name[3..])}:#{MlNormalize::Text.json(value)}," }
  ["{#{text.join}\"data\":".b + body.b + "}".b]
end

def from_bytes(raw, now)
  result = safely(raw, now) do
    yield if block_given?
    MlNormalize.normalize(raw, now, @na_values, @aliases)
  end
  made(result.document)
end

# Beats hand over fields: a line of a file in `message`, or what a shipper parsed already.
def structured(event, now)
  return [ours(event, now)] if event.include?("[ml][schema_version]")
  raw = line_of_beats(event) || json_of(event)
  return [] if blank?(raw)
  result = safely(raw, now) { MlNormalize.normalize(raw, now, @na_values, @aliases) }
  add_origin(event, result) if result.reason
  [made(result.document)]
end

# The line that a Beat read; nil where there is more than a Beat writes, so that nothing of it is lost.
def line_of_beats(event)
  return nil unless event.get("message").is_a?(String)
  fields = event.to_hash
  only = fields.all? { |name, value| value.is_a?(Hash) ? OBJECTS_OF_BEATS.include?(name) : TEXTS_OF_BEATS.include?(name) }
  only ? fields["message"] : nil
end

# The event stays as it is: not a byte of its inputs is written anew.
def ours(event, now)
  result = safely(nil, now, event) do
    MlNormalize::Canonical.check_fields(
      event.get("[ml][schema_version]"), event.get("[event][id]"), event.get("[event][dataset]"),
      event.get("[ml][model][name]"), event.get("[ml][model][version]"), time_of(event), MlNormalize::Times::Arrival.at(now)
    )
    nil
  end
  if result
    add_origin(event, result)
    return made(result.document)
  end
  event.set("[event][ingested]", MlNormalize::Times::Arrival.at(now).text)
  event.remove("@version")
  event
end

# Logstash has put the time of arrival where it could not read the event's own.
def time_of(event)
  tags = event.get("tags")
  unread = tags.respond_to?(:include?) && tags.include?("_timestampparsefailure")
  unread ? event.get("_@timestamp") : event.get("@timestamp").to_s
end

# A refusal, and whatever else goes wrong, is a dead letter.
def safely(raw, now, event = nil)
  yield
rescue MlNormalize::Refused => refused
  MlNormalize.refuse(raw || json_of(event), refused.reason, refused.message, now, refused.stage)
rescue StandardError => error
  logger.error("could not normalize an event", "exception" => error.class.name, "message" => error.message,
                                               "backtrace" => error.backtrace&.first(5))
  MlNormalize.refuse(raw || json_of(event), "failed", "#{error.class}: #{error.message}", now)
end

# The fields of an event as JSON; the time that Logstash gave it counts only where the service gave none.
def json_of(event)
  fields = event.to_hash
  fields.delete("@version")
  if OWN_TIMES.any? { |key| fields.key?(key) } || @aliases&.time?(fields)
    fields.delete("@timestamp")
  else
    fields["@timestamp"] = fields["@timestamp"].to_s
  end
  MlNormalize::Text.json(fields)
end

def add_origin(event, result)
  path = event.get("[log][file][path]")
  return unless path.is_a?(String)
  offset = event.get("[log][offset]")
  result.document["log"] = offset.is_a?(Integer) ? { "file" => { "path" => path }, "offset" => offset } : { "file" => { "path" => path } }
end

def made(document)
  event = LogStash::Event.new(document)
  event.remove("@version")
  event
end

test "an event of ours, as a line" do
  parameters { { "now" => "1517486400000000" } }
  in_event do
    { "@metadata" => { "ml_input" => "lines" },
      "message" => '{"@timestamp":"2018-02-01T10:00:00.123456Z","event":{"id":"e-1","dataset":"ml.prediction"},' \
                   '"ml":{"schema_version":1,"model":{"name":"m","version":"1"},"input":{"category":{"a":"N/A"}}}}' }
  end
  expect("one event, its inputs as they were, with its arrival") do |events|
    events.length == 1 && events[0].get("[ml][input][category][a]") == "N/A" && events[0].get("@version").nil? &&
      events[0].get("[event][ingested]") == "2018-02-01T12:00:00.000000Z" &&
      events[0].get("@timestamp").to_s.start_with?("2018-02-01T10:00:00.123456")
  end
end

test "an event of ours, as fields" do
  parameters { { "now" => "1517486400000000" } }
  in_event do
    { "@timestamp" => "2018-02-01T10:00:00.123456Z", "message" => "prediction",
      "event" => { "id" => "e-1", "dataset" => "ml.health" }, "ml" => { "schema_version" => 1 } }
  end
  expect("the same event with its arrival") do |events|
    events.length == 1 && events[0].get("message") == "prediction" &&
      events[0].get("[event][ingested]") == "2018-02-01T12:00:00.000000Z"
  end
end

test "a foreign event with the NA spellings that were set" do
  parameters { { "now" => "1517486400000000", "na_values" => "?|missing" } }
  in_event do
    { "@metadata" => { "ml_input" => "lines" }, "message" => '{"model":"m","inputs":{"a":"?","b":"NA","c":" ","d":"1.5"}}' }
  end
  expect("these are missing, the usual ones are not") do |events|
    events[0].get("[ml][input][other]") == { "a" => nil, "c" => nil } &&
      events[0].get("[ml][input][category][b]") == "NA" && events[0].get("[ml][input][numeric][d]") == 1.5
  end
end

test "a foreign event as fields, with a time of its own" do
  parameters { { "now" => "1517486400000000" } }
  in_event { { "model" => "m", "inputs" => { "a" => "x" }, "ts" => 1_517_479_200, "message" => "scored" } }
  expect("it is canonical at its own time") do |events|
    events[0].get("[ml][input][category][a]") == "x" && events[0].get("[labels][message]") == "scored" &&
      events[0].get("@timestamp").to_s.start_with?("2018-02-01T10:00:00")
  end
end

test "events of other loggers that a shipper parsed, without a model or inputs at their top" do
  parameters { { "now" => "1517486400000000" } }
  in_event do
    [{ "specversion" => "1.0", "id" => "ce-0", "time" => "2018-02-01T10:00:00Z", "inferenceservicename" => "iris",
       "data" => { "instances" => [[6.8, 2.8]] } },
     { "databricks_request_id" => "mlf-1", "timestamp_ms" => 1_517_479_200_123, "message" => "",
       "request" => '{"dataframe_records":[{"a":1}]}', "request_metadata" => { "model_name" => "churn" } }]
  end
  expect("they are read as over TCP") do |events|
    events.map { |event| event.get("[ml][model][name]") } == %w[iris churn] &&
      events.map { |event| event.get("[event][id]") } == %w[ce-0 mlf-1] &&
      events[0].get("[ml][input][numeric][1]") == 2.8 && events[1].get("[ml][input][numeric][a]") == 1 &&
      events[1].get("@timestamp").to_s.start_with?("2018-02-01T10:00:00.123")
  end
end

test "a record of another log, as a line and as fields" do
  parameters { { "now" => "1517486400000000", "aliases" => File.expand_path("../aliases/sagemaker.yml", File.dirname(__FILE__)) } }
  in_event do
    capture = { "endpointInput" => { "data" => "64000,41,RENT", "encoding" => "CSV" } }
    about = { "eventId" => "e-1", "inferenceTime" => "2018-02-01T10:00:00Z" }
    [{ "captureData" => capture, "eventMetadata" => about },
     { "@metadata" => { "ml_input" => "lines" },
       "message" => MlNormalize::Text.json({ "captureData" => capture, "eventMetadata" => about }) }]
  end
  expect("they are read where the file says, at their own time") do |events|
    events.map { |event| event.get("[event][id]") } == %w[e-1 e-1] && events.all? do |event|
      event.get("[ml][input][numeric][income]") == 64_000 && event.get("[labels]").nil? &&
        event.get("@timestamp").to_s.start_with?("2018-02-01T10:00:00")
    end
  end
end

test "fields that are no event" do
  parameters { { "now" => "1517486400000000" } }
  in_event do
    [{ "foo" => 1 }, { "foo" => 2, "message" => "" }, { "message" => "POST / 200", "level" => "INFO" },
     { "message" => "text", "log" => "of a service", "host" => { "name" => "h" } }]
  end
  expect("each is a dead letter with all that came") do |events|
    events.map { |event| event.get("[error][type]") } == ["no_model"] * 4 &&
      ['"foo":1', '"foo":2', '"level":"INFO"', '"log":"of a service"'].each_with_index.all? do |held, i|
        events[i].get("[event][original]").include?(held)
      end
  end
end

test "an event in the message of fields that say more than a Beat" do
  parameters { { "now" => "1517486400000000" } }
  in_event { { "message" => '{"model":"m","inputs":{"a":"x"}}', "service.name" => "x" } }
  expect("the event of the line, as over TCP") { |events| events[0].get("[ml][input][category][a]") == "x" }
end

test "fields whose sender names an input in its metadata" do
  parameters { { "now" => "1517486400000000" } }
  in_event { { "@metadata" => { "ml_input" => %w[body fields] }, "model" => "m", "inputs" => { "a" => "x" }, "ts" => 1_517_479_200 } }
  expect("an event") { |events| events.length == 1 && events[0].get("[ml][input][category][a]") == "x" }
end

test "blank lines" do
  parameters { { "now" => "1517486400000000" } }
  in_event do
    ["", " \t\r"].flat_map { |line| [{ "@metadata" => { "ml_input" => "lines" }, "message" => line }, { "message" => line }] }
  end
  expect("nothing") { |events| events.empty? }
end

test "a body whose bytes were not UTF-8" do
  parameters { { "now" => "1517486400000000" } }
  in_event do
    line = '{"model":"m","inputs":{"a":"M%sller"}}'
    { "@metadata" => { "ml_input" => "body" },
      "message" => [format(line, "\uFFFD"), format(line, '\\ufffd')].join("\n").b.force_encoding("ISO-8859-1").encode("UTF-8") }
  end
  expect("a dead letter for that line, and none for one that writes the character") do |events|
    events.map { |event| event.get("[error][type]") } == ["not_json", nil] &&
      events[1].get("[ml][input][category][a]") == "M\uFFFDller"
  end
end

test "bytes that are no text" do
  parameters { { "now" => "1517486400000000" } }
  in_event { { "@metadata" => { "ml_input" => "lines" }, "message" => "\u00ff\u00fe" } }
  expect("a dead letter with these bytes") do |events|
    events[0].get("[event][dataset]") == "ml.deadletter" && events[0].get("[error][type]") == "not_json" &&
      events[0].get("[ml][deadletter][encoding]") == "base64" && events[0].get("[event][original]") == "//4="
  end
end

test "a body of several events" do
  parameters { { "now" => "1517486400000000" } }
  in_event do
    { "@metadata" => { "ml_input" => "body" },
      "message" => '[{"model":"m","inputs":{"a":"],["}}, 1 ,{"model":"m","inputs":{"a":2}}]' }
  end
  expect("each by itself") do |events|
    events.map { |event| event.get("[event][dataset]") } == %w[ml.prediction ml.deadletter ml.prediction] &&
      events[1].get("[error][type]") == "not_an_object"
  end
end

test "a body of lines" do
  parameters { { "now" => "1517486400000000" } }
  in_event do
    { "@metadata" => { "ml_input" => "body" }, "message" => "{\"model\":\"m\",\"inputs\":{}}\n\n{broken\n" }
  end
  expect("one a line") { |events| events.map { |event| event.get("[event][dataset]") } == %w[ml.prediction ml.deadletter] }
end

test "a CloudEvent in binary mode" do
  parameters { { "now" => "1517486400000000" } }
  in_event do
    { "@metadata" => {
        "ml_input" => "body",
        "input" => { "http" => { "request" => { "headers" => {
          "ce_specversion" => "1.0", "ce_id" => "r-1", "ce_inferenceservicename" => "m", "content_type" => "application/json"
        } } } }
      },
      "message" => '{"instances": [[1, 2.5]]}' }
  end
  expect("the headers are its envelope") do |events|
    events.length == 1 && events[0].get("[ml][model][name]") == "m" && events[0].get("[ml][request][id]") == "r-1" &&
      events[0].get("[ml][input][numeric][1]") == 2.5
  end
end

test "a line of Filebeat that is refused" do
  parameters { { "now" => "1517486400000000" } }
  in_event { { "message" => "{torn", "log" => { "offset" => 17, "file" => { "path" => "/spool/a.jsonl" } } } }
  expect("a dead letter that says where it stood") do |events|
    events[0].get("[log][file][path]") == "/spool/a.jsonl" && events[0].get("[log][offset]") == 17 &&
      events[0].get("[event][original]") == "{torn"
  end
end
