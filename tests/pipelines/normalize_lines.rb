# frozen_string_literal: true

# Reads lines of {"raw": base64, "now": microseconds, "aliases": base64 of a file or null}, writes the document that each
# becomes as a line of JSON, or {"refused": message} for a file that cannot be used.
require "json"
require_relative "../../pipelines/ruby/ml_normalize"

out = $stdout
files = Hash.new do |known, content|
  known[content] = content && MlNormalize::Aliases.parse(content.unpack1("m0"), "aliases.yml")
end
$stdin.each_line do |line|
  given = JSON.parse(line)
  aliases = files[given["aliases"]]
  result = MlNormalize.normalize(given["raw"].unpack1("m0"), given["now"], MlNormalize::NA_VALUES, aliases)
  out.puts(MlNormalize::Text.json(MlNormalize::Parsing.to_ruby(result.document)))
rescue MlNormalize::Aliases::Error => error
  out.puts(JSON.generate("refused" => error.message))
rescue StandardError, Java::JavaLang::Throwable => error
  out.puts(JSON.generate("raised" => "#{error.class}: #{error.message}", "at" => error.backtrace&.first(5)))
end
