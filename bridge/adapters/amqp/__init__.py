"""The partner feed over AMQP 0-9-1; needs the extra ``amqp`` (pika)."""
