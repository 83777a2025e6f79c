"""The log on Kafka: one topic per contract, any number of partitions, producers of ours and of others.

A record of ours carries one header, `frazil`, with what the request said about it (`origin.py`); a record of another
producer has none and is taken as it is. Positions come from the table, never from the consumer group.
"""

from frazil.log.kafka.connection import KafkaConnection
from frazil.log.kafka.reader import KafkaReader, KafkaRetention
from frazil.log.kafka.writer import KafkaWriter

__all__ = ["KafkaConnection", "KafkaReader", "KafkaRetention", "KafkaWriter"]
