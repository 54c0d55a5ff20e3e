# encoding: utf-8
# frozen_string_literal: true

module MlNormalize
  # The event becomes a dead letter: `reason` is short and stable, the message is for people.
  class Refused < StandardError
    attr_reader :reason, :stage

    def initialize(reason, message, stage = "normalize")
      super(message)
      @reason = reason
      @stage = stage
    end

    # No backtrace: a refusal is an ordinary outcome, and a backtrace costs more than the rest of the event.
    def backtrace
      []
    end
  end
end
