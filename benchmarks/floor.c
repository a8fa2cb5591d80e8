/* The C floor, compiled by the benchmark: raw sockets, one loop, no library.
 *
 *   floor forward HUB_PORT MQTT_PORT CHARGERS WINDOW     frame in, split, PUBLISH, acks counted
 *   floor publish MQTT_PORT COUNT TOPICS BYTES WINDOW    only the publishing, of made-up messages
 *
 * PUBLISH is QoS 1 and retained. "publish" prints the nanoseconds it took, all acknowledged. What
 * it forwards it does not decode: the fields are cut out at their quotation marks.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER (1 << 20)

static uint8_t in[2 * BUFFER], out[BUFFER], acks[BUFFER];
static size_t in_len, out_len, acks_len;
static long in_flight, window_size;
static uint16_t number;

static void die(const char *what) { perror(what); exit(1); }

static int dial(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to)) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void put(int fd, const void *data, size_t size) {
    const uint8_t *at = data;
    while (size) {
        ssize_t done = write(fd, at, size);
        if (done <= 0) die("write");
        at += done;
        size -= done;
    }
}

static int broker(int port, const char *name) {
    uint8_t packet[64] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0}, answer[256];
    int fd = dial(port), size = strlen(name);
    packet[1] = 13 + size;
    packet[14] = size;
    memcpy(packet + 15, name, size);
    /* bytes 2..12 are the protocol, 12 the property length, 13 and 14 the length of the name */
    put(fd, packet, 15 + size);
    if (read(fd, answer, sizeof answer) < 5 || answer[0] != 0x20 || answer[3]) die("connack");
    return fd;
}

/* Append one PUBLISH to the output; the packet identifier counts up. */
static void publish(const char *topic, int topic_len, const char *payload, int payload_len) {
    int rest = 2 + topic_len + 2 + 1 + payload_len;
    uint8_t *at = out + out_len;
    *at++ = 0x33;
    if (rest > 127) { *at++ = (rest & 127) | 128; *at++ = rest >> 7; } else *at++ = rest;
    *at++ = topic_len >> 8;
    *at++ = topic_len;
    memcpy(at, topic, topic_len);
    at += topic_len;
    if (!++number) number = 1;
    *at++ = number >> 8;
    *at++ = number;
    *at++ = 0;
    memcpy(at, payload, payload_len);
    out_len = at + payload_len - out;
    in_flight++;
}

static void take_acks(int fd) {
    ssize_t got = read(fd, acks + acks_len, sizeof acks - acks_len);
    size_t at = 0;
    if (got <= 0) exit(0);
    acks_len += got;
    while (acks_len - at > 1 && acks_len - at >= 2u + acks[at + 1]) {
        if (acks[at] >> 4 == 4) in_flight--;
        at += 2 + acks[at + 1];
    }
    memmove(acks, acks + at, acks_len - at);
    acks_len -= at;
}

static void flush(int fd) {
    if (out_len) put(fd, out, out_len);
    out_len = 0;
}

/* -- publish ----------------------------------------------------------------------------------- */

static void only_publish(int port, long count, int topics, int bytes) {
    int fd = broker(port, "floor-c");
    char topic[64], *payload = malloc(bytes);
    struct timespec began, ended;
    long sent = 0;
    memset(payload, '7', bytes);
    clock_gettime(CLOCK_MONOTONIC, &began);
    while (sent < count || in_flight) {
        while (sent < count && in_flight < window_size && out_len < BUFFER / 2) {
            int size = sprintf(topic, "floor/EH%06ld/state/%ld", sent % topics / 100, sent % 100);
            publish(topic, size, payload, bytes);
            sent++;
        }
        flush(fd);
        take_acks(fd);
    }
    clock_gettime(CLOCK_MONOTONIC, &ended);
    printf("%lld\n", (ended.tv_sec - began.tv_sec) * 1000000000LL + ended.tv_nsec - began.tv_nsec);
}

/* -- forward ----------------------------------------------------------------------------------- */

static void mask_and_put(int fd, const char *text) {
    int size = strlen(text);
    uint8_t head[8] = {0x81, 0x80 | size};
    int head_len = 2;
    if (size > 125) { head[1] = 0xfe; head[2] = size >> 8; head[3] = size; head_len = 4; }
    memset(head + head_len, 0, 4);
    put(fd, head, head_len + 4);
    put(fd, text, size);
}

static int hub(int port, int chargers) {
    int fd = dial(port);
    char text[256], answer[4096];
    size_t held = 0;
    const char *hello = "GET /hubs/chargers?id=c HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    put(fd, hello, strlen(hello));
    while (held < 4 || memcmp(answer + held - 4, "\r\n\r\n", 4)) {
        if (read(fd, answer + held, 1) != 1) die("upgrade");
        held++;
    }
    mask_and_put(fd, "{\"protocol\":\"json\",\"version\":1}\x1e");
    for (int i = 0; i < chargers; i++) {
        sprintf(text, "{\"type\":1,\"invocationId\":\"%d\",\"target\":\"SubscribeWithCurrentState\","
                "\"arguments\":[\"EH%06d\",true]}\x1e", i, 100000 + i);
        mask_and_put(fd, text);
    }
    return fd;
}

/* Return the field that begins behind the nth quotation mark, and its length. */
static const char *field(const char *from, const char *end, int nth, int *size) {
    while (nth && from < end) nth -= *from++ == '"';
    *size = (const char *)memchr(from, '"', end - from) - from;
    return from;
}

static void forward_record(const char *record, const char *end) {
    char topic[128];
    int serial_len, id_len, value_len, size;
    const char *serial, *id, *value;
    if (end - record < 60 || memcmp(record, "{\"type\":1", 9)) return;
    serial = field(record, end, 11, &serial_len);
    id = field(serial, end, 5, &id_len) + 1;
    value = field(id, end, 7, &value_len);
    size = sprintf(topic, "charger/%.*s/state/%.*s", serial_len, serial, id_len - 2, id);
    publish(topic, size, value, value_len);
}

static size_t frame_at, frame_end;  /* the frame being worked on, within in */

static int next_frame(void) {
    size_t left = in_len - frame_end, head = 2, size;
    const uint8_t *at = in + frame_end;
    if (left < 2) return 0;
    size = at[1];
    if (size == 126) { if (left < 4) return 0; size = at[2] << 8 | at[3]; head = 4; }
    if (left < head + size) return 0;
    frame_at = frame_end + head;
    frame_end = frame_at + size;
    return 1;
}

static void work(void) {
    while (in_flight < window_size && out_len < BUFFER - 1024) {
        const uint8_t *end;
        if (frame_at >= frame_end && !next_frame()) break;
        end = memchr(in + frame_at, 0x1e, frame_end - frame_at);
        if (!end) { frame_at = frame_end; continue; }
        forward_record((char *)in + frame_at, (const char *)end);
        frame_at = end - in + 1;
    }
    memmove(in, in + frame_at, in_len - frame_at);
    in_len -= frame_at;
    frame_end -= frame_at;
    frame_at = 0;
}

static void forward(int hub_port, int mqtt_port, int chargers) {
    int to = broker(mqtt_port, "floor-c"), from = hub(hub_port, chargers);
    struct pollfd ready[2] = {{.fd = to, .events = POLLIN}, {.fd = from}};
    for (;;) {
        ready[1].events = in_len < BUFFER && in_flight < window_size ? POLLIN : 0;
        if (poll(ready, 2, -1) < 0) die("poll");
        if (ready[0].revents) take_acks(to);
        if (ready[1].revents) {
            ssize_t got = read(from, in + in_len, sizeof in - in_len);
            if (got <= 0) exit(0);
            in_len += got;
        }
        work();
        flush(to);
    }
}

int main(int argc, char **argv) {
    long arguments[8] = {0};
    for (int i = 2; i < argc && i < 10; i++) arguments[i - 2] = atol(argv[i]);
    if (argc == 6 + 1 && !strcmp(argv[1], "publish")) {
        window_size = arguments[4];
        only_publish(arguments[0], arguments[1], arguments[2], arguments[3]);
    } else if (argc == 5 + 1 && !strcmp(argv[1], "forward")) {
        window_size = arguments[3];
        forward(arguments[0], arguments[1], arguments[2]);
    } else {
        return fprintf(stderr, "see the head of floor.c\n"), 64;
    }
    return 0;
}
