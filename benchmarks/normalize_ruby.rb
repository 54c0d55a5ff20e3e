# frozen_string_literal: true

# Normalizes the lines of a file over and over: three rounds to warm up, then the best of five. Prints its seconds,
# and those of the thread's CPU.
require "java"
require_relative "../pipelines/ruby/ml_normalize"

lines = File.binread(ARGV.fetch(0)).split("\n")
now = ARGV.fetch(1).to_i
threads = java.lang.management.ManagementFactory.thread_mx_bean
refused = 0
rounds = Array.new(8) do
  start = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  cpu = threads.current_thread_cpu_time
  lines.each { |line| refused += 1 if MlNormalize.normalize(line, now).reason }
  [Process.clock_gettime(Process::CLOCK_MONOTONIC) - start, (threads.current_thread_cpu_time - cpu) / 1e9]
end
abort "#{refused} were refused" if refused.positive?
puts rounds.drop(3).transpose.map(&:min).join(" ")
