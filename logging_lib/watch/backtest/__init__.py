"""Answers to a watch's searches at every tick of a past time, from one pass over the events.

``windows`` parts a search's body into what is the same at every tick and the windows of time that move with it;
``plan`` says what it needs of the events; ``frame`` holds these as columns in the order of their arrival;
``answers`` gives a tick's answer, ``buckets`` in Elasticsearch's shape; ``history`` reads the events and puts these
together.
"""
