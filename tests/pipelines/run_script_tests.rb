# frozen_string_literal: true

# Runs the `test` blocks of a script of Logstash's ruby filter without Logstash: as its Script::Context does, over an
# event that has what the scripts use. Prints one line a failure, then "N passed, M failed". In a real Logstash the
# blocks run at each start of the pipeline.
require "java"
require "time"

module LogStash
  # A time, which to_s writes as ISO 8601.
  class Timestamp
    attr_reader :to_s

    def initialize(text)
      @to_s = Time.iso8601(text).utc.iso8601(6)
    end
  end

  # Fields by reference, "[a][b]"; @timestamp is a time.
  class Event
    def initialize(fields)
      @fields = copy(fields)
      @fields["@timestamp"] = Timestamp.new((@fields["@timestamp"] || Time.now.utc.iso8601(6)).to_s)
      @fields["@version"] ||= "1"
    end

    def get(reference)
      path(reference).reduce(@fields) { |at, key| at.is_a?(Hash) ? at[key] : nil }
    end

    def include?(reference)
      *parents, last = path(reference)
      at = parents.reduce(@fields) { |here, key| here.is_a?(Hash) ? here[key] : nil }
      at.is_a?(Hash) && at.key?(last)
    end

    def set(reference, value)
      *parents, last = path(reference)
      parents.reduce(@fields) { |at, key| at[key] ||= {} }[last] = value
    end

    def remove(reference)
      @fields.delete(reference)
    end

    def to_hash
      @fields.reject { |key, _| key == "@metadata" }
    end

    private

    def path(reference)
      reference.start_with?("[") ? reference[1..-2].split("][") : [reference]
    end

    def copy(value)
      case value
      when Hash, Java::JavaUtil::Map
        made = {}
        value.each { |key, item| made[key] = copy(item) }
        made
      when Array, Java::JavaUtil::List then value.map { |item| copy(item) }
      else value
      end
    end
  end
end

# What a script is evaluated in.
class Room
  def initialize(blocks)
    @blocks = blocks
  end

  def test(name, &block)
    @blocks << [name, block]
  end

  def logger
    @logger ||= Class.new { def error(*said) = warn(said.inspect) }.new
  end
end

# One `test` block.
class Block
  attr_reader :expectations

  def initialize(room)
    @room = room
    @expectations = []
  end

  def parameters
    @room.register(yield)
  end

  def in_event
    given = yield
    @events = (given.is_a?(Hash) ? [given] : given).flat_map { |fields| @room.filter(LogStash::Event.new(fields)) }
  end

  def expect(name, &block)
    @expectations << [name, block]
  end

  def failures
    @expectations.reject { |_, block| block.call(@events) }.map(&:first)
  end
end

file = File.expand_path(ARGV.fetch(0))
blocks = []
room = Room.new(blocks)
room.instance_eval(File.read(file), file, 1)
failed = 0
passed = 0
blocks.each do |name, block|
  test = Block.new(room)
  test.instance_eval(&block)
  test.failures.each { |expectation| puts "#{name}: #{expectation}" }
  failed += test.failures.length
  passed += test.expectations.length - test.failures.length
end
puts "#{passed} passed, #{failed} failed"
exit(failed.zero? && passed.positive? ? 0 : 1)
