# frozen_string_literal: true

# Reads lines of {"raw": base64, "now": microseconds}, writes the document that each becomes as a line of JSON.
require "json"
require_relative "../../pipelines/ruby/ml_normalize"

out = $stdout
$stdin.each_line do |line|
  given = JSON.parse(line)
  result = MlNormalize.normalize(given["raw"].unpack1("m0"), given["now"])
  out.puts(MlNormalize::Text.json(MlNormalize::Parsing.to_ruby(result.document)))
rescue StandardError, Java::JavaLang::Throwable => error
  out.puts(JSON.generate("raised" => "#{error.class}: #{error.message}", "at" => error.backtrace&.first(5)))
end
