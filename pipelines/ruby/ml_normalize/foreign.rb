# encoding: utf-8
# frozen_string_literal: true

module MlNormalize
  # An event of a service that does not use logging_lib to canonical form.
  module Foreign
    MAX_INPUTS = 10_000
    MAX_CATEGORY = 256
    MAX_ID = 512
    MAX_DURATION = 1e9

    # Our name to the keys that foreign events may have it under; the first that is filled counts.
    ALIASES = {
      "model" => %w[model model_name ml_model modelName],
      "version" => %w[model_version version modelVersion],
      "inputs" => %w[inputs features input instance],
      "prediction" => %w[prediction outputs predictions output predicted result],
      "timestamp" => %w[@timestamp timestamp time ts timestamp_ms request_time date],
      "id" => %w[event_id id uuid databricks_request_id],
      "request" => %w[request_id requestId correlation_id client_request_id],
      "duration" => %w[duration latency],
      "duration_ms" => %w[duration_ms latency_ms execution_time_ms execution_duration_ms],
      "service" => %w[service app application],
      "score" => %w[score probability confidence],
      "scores" => %w[scores probabilities],
      "sampling" => %w[sampling_fraction sample_rate],
      "error" => %w[error exception],
      "error_type" => %w[error_type error_code]
    }.freeze
    # Keys of a call's status, which stays a label: from 400 on, or one of FAILED, the prediction failed.
    STATUSES = %w[status_code http_status status].freeze
    FAILED = %w[error failed failure].freeze
    OURS = ALIASES.flat_map { |name, keys| keys.map { |key| [key, name] } }.to_h.freeze
    MODEL_KEYS = %w[name version].freeze
    INFINITE = %w[Infinity -Infinity].freeze
    NONFINITE = "!nonfinite"
    NOTHING = Object.new.freeze
    DURATIONS = [["duration", 1], ["duration_ms", 1000]].freeze

    module_function

    def canonical(document, raw, arrival, na_values, aliases = nil)
      if aliases.nil?
        given, rest = known_keys(document)
        given, rest = known_keys(Payloads.unwrap(document, ALIASES["inputs"])) unless given["inputs"].is_a?(Hash)
      else
        given, rest = by_aliases(document, aliases)
      end
      model, version = model(given, rest, aliases)
      inputs = given["inputs"]
      unless inputs.is_a?(Hash)
        raise Refused.new("no_inputs", "no inputs: one of #{listed("inputs", aliases)} must hold an object")
      end
      if inputs.size > MAX_INPUTS || rest.size > MAX_INPUTS
        most = [inputs.size, rest.size].max
        raise Refused.new("too_many_fields", "#{most} fields; at most #{MAX_INPUTS} are taken")
      end
      at = timestamp(given["timestamp"], arrival)
      ml = {
        "schema_version" => SCHEMA_VERSION,
        "model" => { "name" => model, "version" => version, "role" => "live" },
        "profile" => { "status" => "none" },
        "sample" => { "weight" => 1.0 },
        "input" => typed(Names.plain(inputs), na_values)
      }
      about = {
        "id" => nil, "kind" => "event", "dataset" => "ml.prediction", "outcome" => "success",
        "ingested" => arrival.text
      }
      made = {
        "@timestamp" => at, "message" => "prediction", "ecs" => { "version" => ECS_VERSION },
        "event" => about, "ml" => ml
      }
      output = output(given)
      ml["prediction"] = output unless output.nil?
      add_context(given, rest, made)
      add_failure(given, rest, na_values, made)
      about["id"] ||= Text.content_id(raw)
      made["labels"] = Names.plain(rest).transform_values { |value| Text.label(value) } unless rest.empty?
      made
    end

    # The same as known_keys, with the aliases of a file.
    def by_aliases(document, aliases)
      found, document = aliases.extract(document)
      names = aliases.built_in(found)
      given, rest = known_keys(document, names)
      unless found.key?("inputs") || aliases.replaced.include?("inputs") || given["inputs"].is_a?(Hash)
        given, rest = known_keys(Payloads.unwrap(document, ALIASES["inputs"]), names)
      end
      given.merge!(found)
      aliases.defaults.each { |name, value| given[name] = value unless Text.filled?(given[name]) }
      [given, rest]
    end

    def listed(name, aliases)
      (aliases.nil? ? ALIASES[name] : aliases.names_of(name)).join(", ")
    end

    # What stands under one of ALIASES, by our name, and the rest.
    def known_keys(document, names = OURS)
      given = {}
      rest = {}
      document.each do |key, value|
        name = names[key]
        if name.nil? then rest[key] = value
        elsif !given.key?(name) then given[name] = value
        else
          filled, empty = ALIASES[name].select { |key_of| document.key?(key_of) }.partition { |key_of| Text.filled?(document[key_of]) }
          first, *others = filled + empty
          given[name] = document[first]
          others.each { |other| rest[other] = document[other] }
        end
      end
      [given, rest]
    end

    # ml.input.*: by the values' own types; an NA spelling is null, under `other`.
    def typed(inputs, na_values)
      numeric = {}
      category = {}
      text = {}
      boolean = {}
      other = {}
      inputs.each do |name, value|
        if value.is_a?(String)
          if na_values.include?(value) || Text::BLANK.match?(value)
            other[name] = nil
            next
          end
          if INFINITE.include?(value)
            other[name] = value
            next
          end
          value = Text.spelled(value)
        end
        case value
        when Float then numeric[name] = value
        when String then value.length <= MAX_CATEGORY ? category[name] = value : text[name] = Text.cut(value)
        when Integer then numeric[name] = Text.integer(value)
        when true, false then boolean[name] = value
        else other[name] = Text.jsonable(value)
        end
      end
      made = {}
      made["numeric"] = numeric unless numeric.empty?
      made["category"] = category unless category.empty?
      made["text"] = text unless text.empty?
      made["boolean"] = boolean unless boolean.empty?
      made["other"] = other unless other.empty?
      made
    end

    # ml.prediction.*: each part in the field of its type, and all the rest in `other`.
    def output(given)
      output = unwrapped(Payloads.unpack_tensors(given["prediction"]))
      output = Text.spelled(output)
      score = Text.spelled(given["score"])
      scores = given["scores"]
      return nil if output.nil? && scores.nil? && score.nil?
      output = unwrapped(Text.jsonable(output))
      score = Text.jsonable(score)
      made = {}
      other = {}
      if Text.number?(score) then made["score"] = score
      elsif !score.nil? then other["score"] = score
      end
      unplaced = scores.nil? ? NOTHING : place_scores(Text.jsonable(scores), made)
      other["scores"] = unplaced unless unplaced.equal?(NOTHING)
      unplaced = place(output, made)
      other["prediction"] = unplaced unless unplaced.equal?(NOTHING)
      made["scores"] = Names.plain(made["scores"]) if made.key?("scores")
      made["other"] = other unless other.empty?
      made["bin"] = NONFINITE if INFINITE.include?(output)
      made
    end

    # A model returns one row as a list of one.
    def unwrapped(value)
      value = value.first while value.is_a?(Array) && value.length == 1
      value
    end

    # Put an output into the fields of its type; what has no field, or NOTHING.
    def place(value, made)
      case value
      when Hash then place_mapping(value, made)
      when Array
        return place_labels(value, made) if value.all? { |each| each.is_a?(String) || each == true || each == false }
        place_ranking(value, made) ? NOTHING : place_scores(value, made)
      when nil then NOTHING
      when *INFINITE then value
      when Integer, Float
        made["value"] = value
        NOTHING
      else
        made["label"] = category(value)
        NOTHING
      end
    end

    # A mapping: its value, label, labels, scores and score, or several outputs by name.
    def place_mapping(value, made)
      rest = value.dup
      made["value"] = rest.delete("value") if Text.number?(rest["value"])
      made["label"] = category(rest.delete("label")) if scalar?(rest["label"])
      rest.delete("labels") if rest["labels"].is_a?(Array) && place_labels(rest["labels"], made).equal?(NOTHING)
      named = rest.size < value.size
      if (rest["scores"].is_a?(Hash) || rest["scores"].is_a?(Array)) && !made.key?("scores")
        named = true
        unplaced = place_scores(rest.delete("scores"), made)
        rest["scores"] = unplaced unless unplaced.equal?(NOTHING)
      end
      made["score"] = rest.delete("score") if named && Text.number?(rest["score"]) && !made.key?("score")
      rest.empty? ? NOTHING : place_scores(rest, made)
    end

    def place_labels(values, made)
      return values unless values.all? { |value| scalar?(value) }
      made["labels"] = values.map { |value| category(value) }
      NOTHING
    end

    # Place all classes with their scores, [{"label": "a", "score": 0.9}, ...], as Hugging Face writes them.
    def place_ranking(items, made)
      ranking = !made.key?("scores") && items.all? do |item|
        item.is_a?(Hash) && item.size == 2 && item["label"].is_a?(String) && Text.number?(item["score"])
      end
      scores = ranking ? items.to_h { |item| [item["label"], item["score"]] } : {}
      return false if scores.empty? || scores.size < items.size
      made["scores"] = scores
      made["label"] = scores.max_by { |_, score| score }.first
      made["score"] ||= scores[made["label"]]
      true
    end

    # Put the numbers of a mapping or a list into `scores`; the rest, or NOTHING.
    def place_scores(value, made)
      return value if made.key?("scores") || !(value.is_a?(Hash) || value.is_a?(Array))
      items = value.is_a?(Hash) ? value : value.each_with_index.to_h { |item, place| [place.to_s, item] }
      numbers, rest = items.partition { |_, item| Text.number?(item) }.map(&:to_h)
      if numbers.empty?
        return items.empty? ? NOTHING : value
      end
      made["scores"] = numbers
      rest.empty? ? NOTHING : rest
    end

    def scalar?(value)
      value.is_a?(String) || Text.number?(value) || value == true || value == false
    end

    # The text of a class: a whole number without its fraction.
    def category(value)
      return value.to_s unless value.is_a?(Float)
      value == value.to_i && value.abs < 1e15 ? value.to_i.to_s : Text.float(value)
    end

    # Id, request, duration, service, weight; what cannot be one becomes a label.
    def add_context(given, rest, made)
      about = made["event"]
      own = given["id"]
      if Text.filled?(own)
        about["id"] = id = Text.label(own)
        if id.bytesize > MAX_ID
          rest["event_id"] = own
          about["id"] = Text.content_id(id)
        end
      end
      made["ml"]["request"] = { "id" => Text.label(given["request"]) } unless given["request"].nil?
      DURATIONS.each do |name, in_seconds|
        given_duration = given[name]
        next if given_duration.nil?
        duration = nanoseconds(Text.spelled(given_duration), in_seconds)
        duration.nil? ? rest[name] = given_duration : about["duration"] = duration
      end
      add_service(given["service"], rest, made) unless given["service"].nil?
      add_weight(given["sampling"], rest, made) unless given["sampling"].nil?
    end

    # error.* and the outcome, where the event says that the prediction failed.
    def add_failure(given, rest, na_values, made)
      value = given["error"]
      type = given["error_type"]
      return if rest.empty? && value.nil? && type.nil?
      parts = value.is_a?(Hash) ? value : { "message" => value }.compact
      error = {}
      { "type" => type }.merge(parts).slice("type", "message").each do |name, text|
        error[name] = Text.cut(text) if error_text?(text, na_values)
      end
      rest["error_type"] = type if !type.nil? && error["type"] != type
      rest["error"] = value if value == {} || parts.any? { |name, part| error[name] != part }
      made["error"] = error unless error.empty?
      failed = !error.empty? || value == true || ((value.is_a?(Hash) || value.is_a?(Array)) && !value.empty?)
      made["event"]["outcome"] = "failure" if failed || STATUSES.any? { |key| rest.key?(key) && failed?(rest[key]) }
    end

    # A text that spells neither a number nor a missing value.
    def error_text?(value, na_values)
      value.is_a?(String) && Text.filled?(value) && !na_values.include?(value) && Text.spelled(value).is_a?(String)
    end

    # Whether a call's status is a number from 400 to 599, or a word for a failure.
    def failed?(status)
      status = Text.spelled(status)
      Text.number?(status) ? status >= 400 && status < 600 : status.is_a?(String) && FAILED.include?(status.downcase)
    end

    def nanoseconds(duration, in_seconds)
      return nil unless Text.number?(duration)
      seconds = duration.fdiv(in_seconds)
      seconds >= 0 && seconds < MAX_DURATION ? (seconds * 1e9).round(half: :even) : nil
    end

    def add_service(service, rest, made)
      name = service.is_a?(Hash) ? service["name"] : service
      made["service"] = { "name" => Text.cut(name) } if name.is_a?(String) && Text.filled?(name)
      rest["service"] = service unless service.is_a?(String) || service == { "name" => name }
    end

    def add_weight(sampling, rest, made)
      fraction = Text.spelled(sampling)
      if Text.number?(fraction) && fraction.positive? && fraction <= 1 && 1 / fraction.to_f <= 1e9
        made["ml"]["sample"]["weight"] = 1 / fraction.to_f
      else
        rest["sampling"] = sampling
      end
    end

    def model(given, rest, aliases)
      model = given["model"]
      version = given["version"]
      if model.is_a?(Hash)
        rest["model"] = model unless model.each_key.all? { |key| MODEL_KEYS.include?(key) }
        version = model["version"] if Text.filled?(model["version"])
        model = model["name"]
      end
      unless Text.filled?(model)
        raise Refused.new("no_model", "no model: one of #{listed("model", aliases)} must name it")
      end
      [Text.label(model), Text.filled?(version) ? Text.label(version) : "unknown"]
    end

    def timestamp(value, arrival)
      return arrival.text if value.nil?
      at = Times.canonical(value, arrival)
      return at unless at.nil?
      raise Refused.new("timestamp", "the time #{Text.shown(value)} is neither ISO 8601 nor a number since 1970")
    end
  end
end
