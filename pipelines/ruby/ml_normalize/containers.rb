# encoding: utf-8
# frozen_string_literal: true

module MlNormalize
  # The lines of a service in what a log shipper wraps them in: Docker and Fluent Bit in `log`, Filebeat in `message`.
  module Containers
    WRAPPERS = %w[log message].freeze
    MAX_WRAPPERS = 3
    REASONS = %w[no_model no_inputs].freeze
    BEGINS_AN_OBJECT = /\A[\ufeff \t\r\n]*\{/

    module_function

    # The field that holds a service's line, and the line; nil without one.
    def wrapped(document)
      WRAPPERS.each do |name|
        line = document.get(name)
        return [name, line] if line.is_a?(String) && BEGINS_AN_OBJECT.match?(line)
      end
      nil
    end
  end
end
