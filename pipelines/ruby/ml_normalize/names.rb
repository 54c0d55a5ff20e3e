# encoding: utf-8
# frozen_string_literal: true

module MlNormalize
  # Names of features and labels that every store takes: never blank, no empty part between dots, not endless.
  module Names
    MAX_NAME = 256
    KEPT = 200
    UNSAFE = /[%.\t-\r\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/
    CACHE = 10_000

    # Replaced as a whole, never changed: the workers share it.
    @plain = {}.freeze

    module_function

    # The Hash with such names; the same Hash where all are, which is nearly always.
    def plain(values)
      known = Names.known
      unknown = nil
      values.each_key { |name| (unknown ||= []) << name unless known.key?(name) }
      return values if unknown.nil?
      found, unsafe = unknown.partition { |name| plain?(name) }
      Names.learn(found) unless found.empty?
      unsafe.empty? ? values : renamed(values, unsafe.to_set)
    end

    def plain?(name)
      name.length <= MAX_NAME && parts?(name)
    end

    def self.known
      @plain
    end

    def self.learn(names)
      before = @plain.size > CACHE ? {} : @plain
      @plain = before.merge(names.to_h { |name| [name, true] }).freeze
    end

    # Names that are kept have the right of way; of two that become the same, the second gets `~2`.
    def renamed(values, unsafe)
      taken = values.keys.reject { |name| unsafe.include?(name) }.to_set
      made = {}
      values.each do |name, value|
        if unsafe.include?(name)
          stem = name = made_plain(name)
          number = 1
          name = "#{stem}~#{number += 1}" while taken.include?(name)
          taken << name
        end
        made[name] = value
      end
      made
    end

    def parts?(name)
      !name.empty? && name.split(".", -1).none? { |part| Text::BLANK.match?(part) }
    end

    def made_plain(name)
      unless parts?(name)
        name = name.gsub(UNSAFE) { |found| found.bytes.map { |byte| format("%%%02X", byte) }.join }
        name = "%" if name.empty?
      end
      return name if name.length <= MAX_NAME
      "#{name[0, KEPT]}~#{Digest::SHA256.hexdigest(name)[0, 16]}"
    end
  end
end
