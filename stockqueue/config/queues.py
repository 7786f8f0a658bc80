"""The sections of queues, and of the brokers for jobs and for events."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from stockqueue.config.topics import Topics
from stockqueue.config.values import IGNORED, Port, Secret, Section, Text

# The predecessor's transports of jobs; in this program, Celery carries jobs.
MEANS_CELERY = ("mqtt", "database")


def _read_backend(value: object) -> object:
    return "celery" if value in MEANS_CELERY else value


def _read_protocol(value: object) -> object:
    """YAML reads an unquoted 5 as a number and an unquoted 3.1.1 as text."""
    return "5" if not isinstance(value, str) and value == 5 else value


MaxJobs = Annotated[
    int,
    Field(
        ge=1,
        le=1_000_000,
        description="Maximum number of jobs that are queued or running at the same time; further jobs wait.",
    ),
]
Ttl = Annotated[
    int, Field(ge=1, le=31_536_000, description="Seconds that a job may wait in the queue before it expires.")
]
TopicPrefix = Annotated[
    Text | None, IGNORED, Field(description="Ignored: Celery's queues carry jobs, not MQTT topics.")
]
QueuePriority = "Priority of its jobs without a priority rule."


class ForegroundQueue(Section):
    """Jobs that a user waits for: priorities 1 to 3."""

    topic_prefix: TopicPrefix = None
    priority: Annotated[int, Field(ge=1, le=3, description=QueuePriority)] = 1
    max_jobs: MaxJobs = 100
    ttl: Ttl = 300


class BackgroundFetchQueue(Section):
    """Jobs that keep data fresh: priorities 4 to 6."""

    topic_prefix: TopicPrefix = None
    priority: Annotated[int, Field(ge=4, le=6, description=QueuePriority)] = 5
    max_jobs: MaxJobs = 1000
    ttl: Ttl = 3600


class BackgroundAnalysisQueue(Section):
    """Analysis, research and maintenance: priorities 7 to 10."""

    topic_prefix: TopicPrefix = None
    priority: Annotated[int, Field(ge=7, le=10, description=QueuePriority)] = 8
    max_jobs: MaxJobs = 500
    ttl: Ttl = 7200


class PriorityQueues(Section):
    """The three queues."""

    foreground: ForegroundQueue = ForegroundQueue()
    background_fetch: BackgroundFetchQueue = BackgroundFetchQueue()
    background_analysis: BackgroundAnalysisQueue = BackgroundAnalysisQueue()


class Redis(Section):
    """The broker, if the backend is redis and CELERY_BROKER_URL is not set."""

    host: Text = "localhost"
    """Host name or address."""
    port: Port = 6379
    """TCP port."""
    password: Secret = None
    """Password; null: none."""
    database: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Number of the database."""


class RabbitMQ(Section):
    """The broker, if the backend is rabbitmq and CELERY_BROKER_URL is not set."""

    host: Text = "localhost"
    """Host name or address."""
    port: Port = 5672
    """TCP port."""
    username: Text = "guest"
    """User."""
    password: Secret = "guest"  # noqa: S105  (RabbitMQ's own default, which works from the same machine only)
    """Password; null: none."""
    vhost: Text = "/"
    """Virtual host."""


class MqttQueue(Section):
    """The MQTT broker for the bridge, if MQTT_URL is not set."""

    host: Text = "localhost"
    """Host name or address."""
    port: Port = 1883
    """TCP port."""
    username: Text | None = None
    """User; null: none."""
    password: Secret = None
    """Password; null: none."""
    tls: bool = False
    """Whether the connection uses TLS; most brokers use port 8883 for it."""
    ca_file: Text | None = None
    """File with CA certificates for checking the broker's certificate; null: the system's CA certificates."""
    certificate_file: Text | None = None
    """File with the client certificate; null: none."""
    key_file: Text | None = None
    """File with the key of the client certificate, without a passphrase."""
    keepalive: Annotated[int, Field(ge=0, le=65_535)] = 60
    """Seconds without traffic before a ping is sent; 0: no pings."""
    client_id_prefix: Annotated[Text, Field(max_length=64)] = "stockqueue"
    """Prefix of the client id."""
    protocol: Annotated[
        Literal["5", "3.1.1"],
        BeforeValidator(_read_protocol, json_schema_input_type=Literal["5", 5, "3.1.1"]),
    ] = "5"
    """Version of MQTT."""
    topics: Topics = Topics()


class Queue(Section):
    """Queues, and the brokers for jobs and for events."""

    backend: Annotated[
        Literal["celery", "redis", "rabbitmq", "direct"],
        BeforeValidator(
            _read_backend,
            json_schema_input_type=Literal["celery", "redis", "rabbitmq", "direct", "mqtt", "database"],
        ),
    ] = "celery"
    """The broker for jobs, if CELERY_BROKER_URL is not set: celery: an embedded Redis; redis, rabbitmq: the server
    of that section; direct: no broker, the requesting process runs the jobs. mqtt and database mean celery."""
    priority_queues: PriorityQueues = PriorityQueues()
    redis: Redis = Redis()
    rabbitmq: RabbitMQ = RabbitMQ()
    mqtt: MqttQueue = MqttQueue()
