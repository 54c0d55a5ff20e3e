# encoding: utf-8
# frozen_string_literal: true

# The script of the ruby filter of the dead-letter pipeline: what Elasticsearch refused, and Logstash's dead letter
# queue kept, becomes a document of logs-ml.deadletter-*. The refused event stands in event.original as JSON.
#
# script_params:
#   now - the arrival of every event in microseconds since 1970, for tests; absent: the clock.
require File.expand_path("ml_normalize", File.dirname(__FILE__))

ERROR_TYPE = /"type"\s*(?:=>|:)\s*"([a-z_]+)"/
# The reason shows the whole event before Elasticsearch's answer. No text within either can look like the beginning of
# the answer: its quotes are escaped.
ANSWER = /response: (?=\{"\w+"\s*=>)/
ACTION = ", action: "

def register(params)
  @now = params["now"]&.to_i
end

def filter(event)
  now = @now || (java.lang.System.current_time_millis * 1000)
  reason = event.get("[@metadata][dead_letter_queue][reason]").to_s
  answer = answer_in(reason)
  type = ERROR_TYPE.match(answer)&.[](1) || "rejected"
  fields = event.to_hash
  fields.delete("@version")
  fields["@timestamp"] = fields["@timestamp"].to_s
  result = MlNormalize.refuse(MlNormalize::Text.json(fields), type, answer, now, "index")
  letter = LogStash::Event.new(result.document)
  letter.remove("@version")
  [letter]
end

# What Elasticsearch answered, without the event, which stands in event.original.
def answer_in(reason)
  start = reason.rindex(ANSWER)
  start.nil? ? reason.partition(ACTION).first : reason[start..]
end

test "an event that Elasticsearch refused" do
  parameters { { "now" => "1517486400000000" } }
  in_event do
    { "@timestamp" => "2018-02-01T10:00:00.000Z", "event" => { "id" => "e-1", "dataset" => "ml.prediction" },
      "@metadata" => { "dead_letter_queue" => {
        "reason" => 'Could not index event to Elasticsearch. status: 400, response: {"create"=>{"status"=>400, ' \
                    '"error"=>{"type"=>"document_parsing_exception", "reason"=>"failed to parse"}}}'
      } } }
  end
  expect("a dead letter with the reason and the event") do |events|
    events.length == 1 && events[0].get("[event][dataset]") == "ml.deadletter" &&
      events[0].get("[error][type]") == "document_parsing_exception" &&
      events[0].get("[ml][deadletter][stage]") == "index" &&
      events[0].get("[event][original]").include?('"id":"e-1"')
  end
end

test "an event that names types, is long, and quotes an answer" do
  parameters { { "now" => "1517486400000000" } }
  in_event do
    inputs = { "type" => "house", "note" => 'response: {"create"=>{"type"=>"apartment"}}', "long" => "z" * 9000 }
    { "@timestamp" => "2018-02-01T10:00:00.000Z", "event" => { "id" => "e-1" }, "ml" => { "input" => { "category" => inputs } },
      "@metadata" => { "dead_letter_queue" => {
        "reason" => "Could not index event to Elasticsearch. status: 400, action: #{["create", {}, inputs].inspect}, response: " \
                    '{"create" => {"status" => 400, "error" => {"type" => "document_parsing_exception", "reason" => ' \
                    "#{inputs["note"].inspect}}}}"
      } } }
  end
  expect("the type and the message are those of the answer") do |events|
    events[0].get("[error][type]") == "document_parsing_exception" &&
      events[0].get("[error][message]").start_with?('response: {"create" => {"status" => 400') &&
      events[0].get("[error][message]").length < 300 && events[0].get("[event][original]").include?("zzzz")
  end
end

test "a reason without an answer" do
  parameters { {} }
  in_event do
    { "@metadata" => { "dead_letter_queue" => {
      "reason" => 'Could not index event. status: 404, action: ["create", {"a"=>"secret"}], nothing'
    } } }
  end
  expect("what is said before the event") do |events|
    events[0].get("[error][message]") == "Could not index event. status: 404" && events[0].get("[error][type]") == "rejected"
  end
end
