# encoding: utf-8
# frozen_string_literal: true

module MlNormalize
  # Times of any spelling to the event's form, UTC with six digits; inside, they are microseconds since 1970.
  module Times
    MAX_AHEAD = 86_400_000_000
    HOUR = "(?:[01][0-9]|2[0-3])"
    SIXTY = "[0-5][0-9]"
    FRACTION = "(?:[.,](?<fraction>[0-9]{1,9}))?"
    ZONE = "(?: ?(?<zone>[Zz]|UTC|GMT|[+-]#{HOUR}(?::?#{SIXTY})?))?"
    MONTHS = %w[Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec].freeze
    ISO = Regexp.new(
      "\\A(?<year>[0-9]{4})-(?<month>[0-9]{2})-(?<day>[0-9]{2})" \
      "(?:[Tt ](?<hour>#{HOUR}):(?<minute>#{SIXTY})(?::(?<second>#{SIXTY})#{FRACTION})?#{ZONE})?\\z"
    )
    BASIC = Regexp.new(
      "\\A(?<year>[0-9]{4})(?<month>[0-9]{2})(?<day>[0-9]{2})" \
      "(?:[Tt](?<hour>#{HOUR})(?<minute>#{SIXTY})(?:(?<second>#{SIXTY})#{FRACTION})?#{ZONE})?\\z"
    )
    # The time of Apache's logs, and that of HTTP and email.
    NAMED = Regexp.new(
      "\\A(?:[A-Z][a-z]{2}, )?(?<day>[0-9]{1,2})[ /](?<month>#{MONTHS.join("|")})[ /](?<year>[0-9]{4})" \
      "[ :](?<hour>#{HOUR}):(?<minute>#{SIXTY}):(?<second>#{SIXTY})#{FRACTION}#{ZONE}\\z"
    )
    FORMS = [ISO, NAMED, BASIC].freeze
    PLAIN = /\A[0-9]{4}-[0-9]{2}-[0-9]{2}T#{HOUR}:#{SIXTY}:#{SIXTY}(?:\.[0-9]{6})?Z\z/
    DAYS = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].freeze
    FIRST = -62_135_596_800_000_000 # 0001-01-01T00:00:00Z
    LAST = 253_402_300_799_999_999 # 9999-12-31T23:59:59.999999Z
    SCALES = [[1e11, 1_000_000_000], [1e14, 1_000_000], [1e17, 1000], [1e20, 1]].freeze

    module_function

    # Microseconds of a text in one of FORMS, or nil.
    def instant(text)
      FORMS.each do |form|
        found = form.match(text)
        moment = found && built(found)
        return moment unless moment.nil?
      end
      nil
    end

    # Microseconds of an ISO 8601 text that has a time of day after a T and a zone, or nil.
    def iso(text)
      found = ISO.match(text)
      return nil if found.nil? || found[:zone].nil? || text[10] == " "
      built(found)
    end

    def built(found)
      month = found[:month]
      date = days(found[:year].to_i, month.match?(/[0-9]/) ? month.to_i : MONTHS.index(month) + 1, found[:day].to_i)
      return nil if date.nil?
      seconds = date * 86_400 + found[:hour].to_i * 3600 + found[:minute].to_i * 60 + found[:second].to_i
      zone = found[:zone]
      if zone && zone.start_with?("+", "-")
        offset = zone[1, 2].to_i * 3600 + (zone.length > 3 ? zone[-2, 2].to_i * 60 : 0)
        seconds -= zone.start_with?("-") ? -offset : offset
      end
      fraction = found[:fraction]
      microseconds = seconds * 1_000_000 + (fraction ? fraction[0, 6].ljust(6, "0").to_i : 0)
      microseconds.between?(FIRST, LAST) ? microseconds : nil
    end

    # When an event arrived, and the latest time that it may have. Many events have the same arrival.
    class Arrival
      attr_reader :text, :latest, :latest_text

      def self.at(now)
        last = @last
        last = @last = new(now) unless last && last.now == now
        last
      end

      attr_reader :now

      def initialize(now)
        @now = now
        @text = Times.written(now).freeze
        @latest = now + MAX_AHEAD
        @latest_text = Times.written(@latest).freeze
      end
    end

    # The time of a foreign event in the event's form: a text in one of FORMS, or a number since 1970, also as text;
    # or nil.
    def canonical(value, arrival)
      if value.is_a?(String)
        if plain?(value)
          text = value.length == 27 ? value : "#{value[0, 19]}.000000Z"
          ahead(text) if text > arrival.latest_text
          return text
        end
        moment = instant(value)
        return within(moment, arrival) unless moment.nil?
        value = Text.spelled(value) # eight digits that are not a date are a number
      end
      moment = from_number(value) if Text.number?(value)
      moment.nil? ? nil : within(moment, arrival)
    end

    # The time of an event of ours, ISO 8601 with a zone, in the event's form, with or without digits; or nil.
    def own(value, arrival)
      return nil unless value.is_a?(String)
      if plain?(value)
        text = value.length == 27 ? value : "#{value[0, 19]}.000000Z"
        ahead(text) if text > arrival.latest_text
        return value
      end
      moment = iso(value)
      moment.nil? ? nil : within(moment, arrival)
    end

    def plain?(text)
      PLAIN.match?(text) && Dates.real?(text[0, 10])
    end

    def within(moment, arrival)
      text = written(moment)
      ahead(text) if moment > arrival.latest
      text
    end

    def ahead(text)
      raise Refused.new("future", "the time #{text} is more than a day ahead of arrival")
    end

    # Whether there is such a date; the answers are kept.
    module Dates
      CACHE = 1000
      @real = {}.freeze

      def self.real?(text)
        known = @real[text]
        return known unless known.nil?
        found = !Times.days(text[0, 4].to_i, text[5, 2].to_i, text[8, 2].to_i).nil?
        @real = (@real.size > CACHE ? {} : @real).merge(text => found).freeze
        found
      end
    end

    # In the event's form.
    def written(microseconds)
      seconds, fraction = microseconds.divmod(1_000_000)
      day, second = seconds.divmod(86_400)
      "#{date(day)}T#{pad2(second / 3600)}:#{pad2(second / 60 % 60)}:#{pad2(second % 60)}.#{(1_000_000 + fraction).to_s[1, 6]}Z"
    end

    def pad2(number)
      number < 10 ? "0#{number}" : number.to_s
    end

    # Convert a number, whose unit follows from its size: seconds up to the year 5138.
    def from_number(value)
      SCALES.each do |limit, nanoseconds|
        next unless value.abs < limit
        microseconds =
          if value.is_a?(Integer) then (value * nanoseconds).div(1000)
          elsif nanoseconds == 1 then value.to_i.div(1000)
          else (value * nanoseconds / 1e3).round(half: :even)
          end
        return microseconds.between?(FIRST, LAST) ? microseconds : nil
      end
      nil
    end

    # Days since 1970, or nil where there is no such date. Howard Hinnant's days_from_civil.
    def days(year, month, day)
      return nil if year < 1 || month < 1 || month > 12 || day < 1
      return nil if day > DAYS[month] && !(month == 2 && day == 29 && leap?(year))
      year -= 1 if month <= 2
      era = year.div(400)
      of_era = year - era * 400
      of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
      era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    end

    def leap?(year)
      (year % 4).zero? && (!(year % 100).zero? || (year % 400).zero?)
    end

    # The inverse: days since 1970 as a date.
    def date(days)
      days += 719_468
      era = days.div(146_097)
      of_era = days - era * 146_097
      year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365
      of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100)
      month = (5 * of_year + 2) / 153
      day = of_year - (153 * month + 2) / 5 + 1
      month += month < 10 ? 3 : -9
      year = year_of_era + era * 400 + (month <= 2 ? 1 : 0)
      "#{year.to_s.rjust(4, "0")}-#{pad2(month)}-#{pad2(day)}"
    end
  end
end
