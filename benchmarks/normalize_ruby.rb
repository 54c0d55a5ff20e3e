# frozen_string_literal: true

# Normalizes the lines of a file over and over: two rounds to warm up, then the best of five. Prints seconds.
require_relative "../pipelines/ruby/ml_normalize"

lines = File.binread(ARGV.fetch(0)).split("\n")
now = ARGV.fetch(1).to_i
refused = 0
seconds = Array.new(7) do
  start = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  lines.each { |line| refused += 1 if MlNormalize.normalize(line, now).reason }
  Process.clock_gettime(Process::CLOCK_MONOTONIC) - start
end
abort "#{refused} were refused" if refused.positive?
puts seconds.drop(2).min
