"""Answer a watch's searches at every tick of a past period from one pass over the events.

``windows`` splits a search's body into the part that is the same at every tick and the windows of time that move
with the tick; ``plan`` says what the search needs of the events; ``answers`` returns a tick's answer in
Elasticsearch's shape; ``history`` has the events counted and combines these parts.
"""
