/* A minimal HTTP/2 client that loads a CONNECT proxy (RFC 9113, 8.5), and the targets that it asks for. One program; a mode prints
 * one JSON object a result and exits 0, or one line on stderr and exits 1. Loopback only, every wait bounded by the alarm. WAY is
 * `clear` (prior knowledge) or `tls` (ALPN h2; the certificate is not checked).
 *
 *   http2 rate WAY PORT COUNT AT_ONCE      COUNT streams of one connection: CONNECT, one byte echoed, END_STREAM both ways
 *   http2 hold WAY PORT AT_ONCE EACH       reads numbers from stdin; opens streams until that many are held, prints the number; EACH
 *                                          to a connection, or fewer if its SETTINGS say so
 *   http2 down|up WAY PORT SIZE            SIZE bytes in one stream
 *   http2 keys WAY PORT down|up SECONDS    keystrokes in one stream while another one of the connection carries all it can
 *   http2 pingpong WAY PORT SIZE COUNT SECONDS alone|beside
 *                                          round trips in one stream, as in pingpong.c; the bulk beside it is another stream, down
 *
 * It is no client to copy: requests are literals that no table keeps, and of an answer only :status is read.
 */
#include "load.h"
#include <openssl/err.h>
#include <openssl/ssl.h>

enum {
    FRAME_HEAD = 9, FRAME_MAX = 16384, /* of a payload; a larger one is never offered, as most clients do not */
    IN_MAX = 512 << 10, OUT_MAX = 1 << 20, CHUNK = 64 << 10,
    WINDOW = 16 << 20, WINDOW_BESIDE_KEYS = 1 << 20, WINDOW_OF_CONNECTION = 64 << 20, WINDOW_AT_FIRST = 65535,
    EVENTS = 256, IDLE_WAIT = 5000 /* milliseconds */,
};
enum frame { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PUSH_PROMISE = 5, PING = 6, GOAWAY = 7, WINDOW_UPDATE = 8, CONTINUATION = 9 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8, PRIORITY = 32 };
enum { ENABLE_PUSH = 2, MAX_CONCURRENT_STREAMS = 3, INITIAL_WINDOW_SIZE = 4, MAX_FRAME_SIZE = 5 };

enum phase { ASKED, OPEN, HELD };

struct stream {
    enum phase phase;
    bool ended_here, ended_there; /* END_STREAM was sent, has come */
    long long room;               /* what the proxy's window has left */
    long long received;
    long owed; /* bytes that have come and are not credited */
};

struct connection {
    int fd;
    SSL *tls; /* NULL in the clear */
    uint8_t *in, *out;
    size_t in_length, out_begin, out_end;
    struct stream *streams; /* by number; stream identifiers are twice that and one */
    long opened, capacity, open;
    long long room;
    long owed;
    long initial_window, max_frame, max_streams; /* the proxy's settings */
    bool greeted;                                /* they have come */
    bool eager;                                  /* there is more to send than its buffer should hold */
    uint32_t watched;
};

enum kind { FREE, LISTENER, TARGET, CONNECTION };

static struct {
    struct {
        enum kind kind;
        struct connection *connection;
    } *ends; /* by descriptor */
    int epoll, port, target_port;
    bool tls;
    long window;                   /* of a stream of ours */
    long opened, done, goal;       /* streams in all; those that have reached what they are for; those wanted */
    long at_once, each;            /* streams on their way, streams of one connection: at most */
    long targets;                  /* target ends that are open */
    struct connection *connection; /* the newest */
} load;

/* What a mode does at each step of a stream. */
static struct {
    void (*established)(struct connection *, long);
    void (*data)(struct connection *, long, const uint8_t *, size_t);
    void (*ended)(struct connection *, long);
    void (*turn)(void); /* before each wait, and after all that has been read */
} on;

/* ---- bytes to the proxy ---- */

static void watch(int fd, enum kind kind, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, fd, &event))
        die("epoll: %s", strerror(errno));
    load.ends[fd].kind = kind;
}

static void die_of_tls(const char *what)
{
    char text[256] = "the connection ended";
    if (ERR_peek_error())
        ERR_error_string_n(ERR_get_error(), text, sizeof text);
    die("%s: %s", what, text);
}

/* Bytes that were taken; 0 if there is no room for any. */
static size_t try_send(struct connection *c, const uint8_t *bytes, size_t length)
{
    ssize_t n;
    if (!c->tls) {
        n = send(c->fd, bytes, length, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            die("send: %s (stream %ld)", strerror(errno), c->opened);
        return n < 0 ? 0 : n;
    }
    n = SSL_write(c->tls, bytes, length);
    if (n <= 0 && SSL_get_error(c->tls, n) != SSL_ERROR_WANT_WRITE && SSL_get_error(c->tls, n) != SSL_ERROR_WANT_READ)
        die_of_tls("send");
    return n <= 0 ? 0 : n;
}

static void flush(struct connection *c)
{
    size_t n = 1;
    while (c->out_begin < c->out_end && n) {
        n = try_send(c, c->out + c->out_begin, c->out_end - c->out_begin);
        c->out_begin += n;
    }
    bool empty = c->out_begin == c->out_end;
    if (empty)
        c->out_begin = c->out_end = 0;
    uint32_t wanted = EPOLLIN | (empty && !c->eager ? 0 : EPOLLOUT);
    if (wanted != c->watched) {
        struct epoll_event event = {.events = wanted, .data.fd = c->fd};
        if (epoll_ctl(load.epoll, EPOLL_CTL_MOD, c->fd, &event))
            die("epoll: %s", strerror(errno));
        c->watched = wanted;
    }
}

static void put_number(uint8_t *to, uint32_t number)
{
    number = htobe32(number);
    memcpy(to, &number, sizeof number);
}

static uint32_t number_at(const uint8_t *from)
{
    uint32_t number;
    memcpy(&number, from, sizeof number);
    return be32toh(number);
}

/* Room for the payload of a frame that is sent with the next flush(). */
static uint8_t *add_frame(struct connection *c, enum frame type, int flags, uint32_t identifier, size_t length)
{
    if (c->out_end + FRAME_HEAD + length > OUT_MAX) {
        memmove(c->out, c->out + c->out_begin, c->out_end - c->out_begin);
        c->out_end -= c->out_begin;
        c->out_begin = 0;
        if (c->out_end + FRAME_HEAD + length > OUT_MAX)
            die("the proxy takes nothing, with %zu bytes to send", c->out_end);
    }
    uint8_t *head = c->out + c->out_end;
    put_number(head, length << 8 | type);
    head[4] = flags;
    put_number(head + 5, identifier);
    c->out_end += FRAME_HEAD + length;
    return head + FRAME_HEAD;
}

static uint32_t identifier_of(long number)
{
    return number * 2 + 1;
}

static void add_data(struct connection *c, long number, const void *bytes, size_t length, bool last)
{
    struct stream *s = &c->streams[number];
    memcpy(add_frame(c, DATA, last ? END_STREAM : 0, identifier_of(number), length), bytes, length);
    s->room -= length;
    c->room -= length;
    s->ended_here = last;
}

static void add_window_update(struct connection *c, uint32_t identifier, long size)
{
    put_number(add_frame(c, WINDOW_UPDATE, 0, identifier, 4), size);
}

static uint8_t *add_literal(uint8_t *to, int name, const char *value)
{
    size_t length = strlen(value); /* below 127, so one octet says it */
    *to++ = name;                  /* index of the static table; literal without indexing */
    *to++ = length;
    memcpy(to, value, length);
    return to + length;
}

/* ---- streams ---- */

static void ask(struct connection *c, int host, int port)
{
    char authority[64];
    uint8_t block[128], *end = block;
    if (c->opened == c->capacity) {
        c->capacity = c->capacity ? c->capacity * 2 : 64;
        c->streams = realloc(c->streams, c->capacity * sizeof *c->streams);
    }
    c->streams[c->opened] = (struct stream){.phase = ASKED, .room = c->initial_window};
    snprintf(authority, sizeof authority, "127.0.0.%d:%d", host, port);
    end = add_literal(end, 2, "CONNECT");  /* :method */
    end = add_literal(end, 1, authority); /* :authority */
    memcpy(add_frame(c, HEADERS, END_HEADERS, identifier_of(c->opened), end - block), block, end - block);
    c->opened++;
    c->open++;
    load.opened++;
}

static void end_stream_here(struct connection *c, long number)
{
    add_data(c, number, "", 0, true);
}

static struct stream *find(struct connection *c, uint32_t identifier, const char *frame)
{
    long number = identifier / 2;
    if (identifier % 2 == 0 || number >= c->opened)
        die("the proxy sent %s on stream %u, which was not opened", frame, identifier);
    return &c->streams[number];
}

static void credit(struct connection *c, struct stream *s, uint32_t identifier, long length)
{
    s->owed += length;
    c->owed += length;
    if (s->owed >= load.window / 2 && !s->ended_there) {
        add_window_update(c, identifier, s->owed);
        s->owed = 0;
    }
    if (c->owed >= WINDOW_OF_CONNECTION / 4) {
        add_window_update(c, 0, c->owed);
        c->owed = 0;
    }
}

/* ---- frames from the proxy ---- */

/* Takes off padding and priority. */
static const uint8_t *strip(const uint8_t *payload, size_t *length, int flags)
{
    size_t before = (flags & PADDED ? 1 : 0) + (flags & PRIORITY ? 5 : 0), after = flags & PADDED ? payload[0] : 0;
    if (before + after > *length)
        die("the proxy sent a frame with more padding than payload");
    *length -= before + after;
    return payload + before;
}

/* :status comes first; the 200 of the static table, or a literal with its name, in digits or in Huffman's code. */
static bool is_success(const uint8_t *block, size_t length)
{
    while (length && (*block & 0xe0) == 0x20) { /* a change of the table's size, whose number may go on */
        bool goes_on = (*block & 0x1f) == 0x1f;
        block++, length--;
        while (goes_on && length) {
            goes_on = *block & 0x80;
            block++, length--;
        }
    }
    if (length && *block == 0x88)
        return true;
    if (length >= 5 && (*block == 0x48 || *block == 0x08 || *block == 0x18))
        return !memcmp(block + 1, "\003200", 4) || !memcmp(block + 1, "\x82\x10\x01", 3);
    return false;
}

static void on_headers(struct connection *c, uint32_t identifier, int flags, const uint8_t *payload, size_t length)
{
    struct stream *s = find(c, identifier, "HEADERS");
    const uint8_t *block = strip(payload, &length, flags);
    if (!(flags & END_HEADERS) || s->phase != ASKED)
        die("the proxy sent a second HEADERS, or one that goes on (stream %u)", identifier);
    if (!is_success(block, length) || flags & END_STREAM) {
        char text[64] = "";
        for (size_t i = 0; i < length && i < 16; i++)
            sprintf(text + 3 * i, " %02x", block[i]);
        die("the proxy refused stream %u: HEADERS begins with%s", identifier, text);
    }
    s->phase = OPEN;
    on.established(c, identifier / 2);
}

static void on_data(struct connection *c, uint32_t identifier, int flags, const uint8_t *payload, size_t length)
{
    struct stream *s = find(c, identifier, "DATA");
    size_t whole = length;
    const uint8_t *bytes = strip(payload, &length, flags & PADDED);
    if (s->phase == ASKED || s->ended_there)
        die("the proxy sent DATA %s (stream %u)", s->ended_there ? "after END_STREAM" : "before its answer", identifier);
    s->ended_there = flags & END_STREAM;
    s->received += length;
    credit(c, s, identifier, whole);
    if (length)
        on.data(c, identifier / 2, bytes, length);
    if (flags & END_STREAM)
        on.ended(c, identifier / 2);
}

static void on_settings(struct connection *c, int flags, const uint8_t *payload, size_t length)
{
    if (flags & ACK)
        return;
    for (; length >= 6; payload += 6, length -= 6) {
        uint32_t value = number_at(payload + 2);
        switch (payload[0] << 8 | payload[1]) {
        case MAX_CONCURRENT_STREAMS: c->max_streams = value; break;
        case MAX_FRAME_SIZE: c->max_frame = value; break;
        case INITIAL_WINDOW_SIZE:
            for (long i = 0; i < c->opened; i++)
                c->streams[i].room += (long)value - c->initial_window;
            c->initial_window = value;
            break;
        }
    }
    c->greeted = true;
    add_frame(c, SETTINGS, ACK, 0, 0);
}

static void on_window_update(struct connection *c, uint32_t identifier, const uint8_t *payload)
{
    uint32_t size = number_at(payload) & 0x7fffffff;
    if (identifier)
        find(c, identifier, "WINDOW_UPDATE")->room += size;
    else
        c->room += size;
}

/* Envoy resets a stream with NO_ERROR once both ends have ended it, which is none of our business. */
static void on_reset(struct connection *c, uint32_t identifier, const uint8_t *payload)
{
    struct stream *s = find(c, identifier, "RST_STREAM");
    if (!s->ended_here || !s->ended_there)
        die("the proxy reset stream %u with code %u, %lld bytes of which had come", identifier, number_at(payload), s->received);
}

static void on_frame(struct connection *c, int type, int flags, uint32_t identifier, const uint8_t *payload, size_t length)
{
    if ((type == RST_STREAM || type == WINDOW_UPDATE) && length != 4)
        die("the proxy sent a frame of type %d with %zu bytes", type, length);
    switch (type) {
    case DATA: on_data(c, identifier, flags, payload, length); break;
    case HEADERS: on_headers(c, identifier, flags, payload, length); break;
    case RST_STREAM: on_reset(c, identifier, payload); break;
    case SETTINGS: on_settings(c, flags, payload, length); break;
    case WINDOW_UPDATE: on_window_update(c, identifier, payload); break;
    case PING:
        if (!(flags & ACK))
            memcpy(add_frame(c, PING, ACK, 0, length), payload, length);
        break;
    case GOAWAY: die("the proxy sent GOAWAY with code %u after %ld streams", length >= 8 ? number_at(payload + 4) : 0, c->opened);
    case PUSH_PROMISE:
    case CONTINUATION: die("the proxy sent a frame of type %d", type);
    }
}

static void take_frames(struct connection *c)
{
    size_t begin = 0;
    while (c->in_length - begin >= FRAME_HEAD) {
        const uint8_t *head = c->in + begin;
        size_t length = number_at(head) >> 8;
        if (!c->greeted && (length > FRAME_MAX || head[3] != SETTINGS))
            die("the proxy does not answer in HTTP/2");
        if (length > FRAME_MAX)
            die("the proxy sent a frame of %zu bytes", length);
        if (c->in_length - begin < FRAME_HEAD + length)
            break;
        on_frame(c, head[3], head[4], number_at(head + 5) & 0x7fffffff, head + FRAME_HEAD, length);
        begin += FRAME_HEAD + length;
    }
    c->in_length -= begin;
    memmove(c->in, c->in + begin, c->in_length);
}

/* Fills the buffer as far as there is something; whether there may be more. */
static bool fill(struct connection *c)
{
    while (c->in_length < IN_MAX) {
        ssize_t n;
        if (c->tls) {
            n = SSL_read(c->tls, c->in + c->in_length, IN_MAX - c->in_length);
            if (n <= 0 && SSL_get_error(c->tls, n) == SSL_ERROR_WANT_READ)
                return false;
            if (n <= 0)
                die_of_tls("recv");
            c->in_length += n; /* a record at most */
            continue;
        }
        n = recv(c->fd, c->in + c->in_length, IN_MAX - c->in_length, 0);
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n <= 0)
            die("the proxy ended the connection: %s", n ? strerror(errno) : "end of stream");
        c->in_length += n;
        return false; /* the descriptor tells of more */
    }
    return true;
}

/* TLS holds bytes of which the descriptor does not tell: it is read until it has none. */
static void on_connection(struct connection *c, uint32_t events)
{
    bool more = events & ~EPOLLOUT;
    while (more) {
        more = fill(c);
        take_frames(c);
        on.turn();
        flush(c);
    }
    if (events & EPOLLOUT)
        flush(c);
}

/* ---- connections ---- */

static SSL *start_tls(int fd)
{
    static SSL_CTX *context;
    const unsigned char *chosen;
    unsigned length;
    if (!context) {
        context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
        SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384"); /* the same for every proxy, whatever it prefers */
        SSL_CTX_set_alpn_protos(context, (const unsigned char *)"\002h2", 3);
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_read_ahead(context, 1);
        SSL_CTX_set_default_read_buffer_len(context, 128 << 10);
    }
    SSL *tls = SSL_new(context);
    SSL_set_tlsext_host_name(tls, "localhost");
    SSL_set_fd(tls, fd);
    if (SSL_connect(tls) != 1)
        die_of_tls("TLS handshake");
    SSL_get0_alpn_selected(tls, &chosen, &length);
    if (length != 2 || memcmp(chosen, "h2", 2))
        die("the proxy does not choose h2 by ALPN");
    return tls;
}

static void add_setting(uint8_t *to, int name, uint32_t value)
{
    to[0] = name >> 8;
    to[1] = name;
    put_number(to + 2, value);
}

static void open_connection(void)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    struct connection *c = calloc(1, sizeof *c);
    struct sockaddr_in address = loopback(1, load.port);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address))
        die("connect: %s", strerror(errno));
    no_delay(c->fd);
    if (load.tls)
        c->tls = start_tls(c->fd);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->in = malloc(IN_MAX);
    c->out = malloc(OUT_MAX);
    c->initial_window = c->room = WINDOW_AT_FIRST;
    c->max_frame = FRAME_MAX;
    c->max_streams = load.each;
    c->watched = EPOLLIN;
    watch(c->fd, CONNECTION, EPOLLIN);
    load.ends[c->fd].connection = load.connection = c;
    memcpy(c->out, preface, c->out_end = sizeof preface - 1);
    uint8_t *settings = add_frame(c, SETTINGS, 0, 0, 12);
    add_setting(settings, ENABLE_PUSH, 0);
    add_setting(settings + 6, INITIAL_WINDOW_SIZE, load.window);
    add_window_update(c, 0, WINDOW_OF_CONNECTION - WINDOW_AT_FIRST);
    flush(c);
}

/* How many streams more a connection may have now. */
static long places(const struct connection *c)
{
    long most = c->max_streams < load.each ? c->max_streams : load.each;
    return c->greeted ? most - c->open : 0;
}

/* ---- targets that echo, in the same loop ---- */

static void on_listener(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        watch(fd, TARGET, EPOLLIN);
        load.targets++;
    }
    if (errno != EAGAIN && errno != ECONNABORTED)
        die("accept: %s", strerror(errno));
}

static void on_target(int fd)
{
    char bytes[64];
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if ((n < 0 && errno == EAGAIN) || (n > 0 && send(fd, bytes, n, MSG_NOSIGNAL) == n))
        return;
    if (n < 0)
        die("a target was reset: %s", strerror(errno));
    load.targets--;
    load.ends[fd].kind = FREE;
    close(fd);
}

static bool listen_everywhere(void)
{
    load.target_port = 0; /* the kernel's choice on the first address, the same port on the others */
    for (int host = 1; host <= ADDRESSES; host++) {
        int fd = try_listen(host, load.target_port, SOCK_NONBLOCK);
        if (fd < 0)
            return false;
        load.target_port = port_of(fd);
        watch(fd, LISTENER, EPOLLIN);
    }
    return true;
}

static void echo_in_this_loop(void)
{
    for (int attempt = 0; !listen_everywhere(); attempt++)
        if (attempt == 10) /* an attempt that failed leaves listeners that nobody is told of */
            die("no port that is free on %d loopback addresses", ADDRESSES);
}

/* ---- the loop ---- */

/* Waits once; how many events there were. */
static int wait_once(int milliseconds)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(load.epoll, events, EVENTS, milliseconds);
    for (int i = 0; i < n; i++) {
        int fd = events[i].data.fd;
        switch (load.ends[fd].kind) {
        case LISTENER: on_listener(fd); break;
        case TARGET: on_target(fd); break;
        case CONNECTION: on_connection(load.ends[fd].connection, events[i].events); break;
        case FREE: break; /* closed earlier in the same batch of events */
        }
    }
    return n;
}

static void nothing(void)
{
}

static void prepare(const char *way, int port)
{
    if (strcmp(way, "clear") && strcmp(way, "tls"))
        die("%s: neither clear nor tls", way);
    load.tls = !strcmp(way, "tls");
    load.port = port;
    load.window = WINDOW;
    load.each = LONG_MAX;
    load.ends = calloc(raise_descriptor_limit(), sizeof *load.ends);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    on.turn = nothing;
}

/* ---- rate and hold ---- */

/* Asks for streams while there are places for them. */
static void ask_for_more(void)
{
    struct connection *c = load.connection;
    while (load.opened < load.goal && load.opened - load.done < load.at_once && places(c) > 0)
        ask(c, 1 + load.opened % ADDRESSES, load.target_port);
}

static void send_key(struct connection *c, long number)
{
    add_data(c, number, "e", 1, false);
}

static void end_after_echo(struct connection *c, long number, const uint8_t *bytes, size_t length)
{
    if (length != 1 || *bytes != 'e')
        die("%zu bytes came back, of one", length);
    end_stream_here(c, number);
}

static void count_end(struct connection *c, long number)
{
    const struct stream *s = &c->streams[number];
    if (!s->ended_here || s->received != 1)
        die("a stream ended after %lld bytes, %s END_STREAM of ours", s->received, s->ended_here ? "after" : "before");
    c->open--;
    load.done++;
}

static void rate(long count, long at_once)
{
    double begun = 0, done = 0;
    load.goal = count;
    load.at_once = at_once;
    echo_in_this_loop();
    on.established = send_key;
    on.data = end_after_echo;
    on.ended = count_end;
    open_connection();
    while (!load.connection->greeted)
        wait_once(-1);
    begun = now();
    on.turn = ask_for_more;
    while (load.done < count || load.targets) {
        ask_for_more();
        flush(load.connection);
        int n = wait_once(IDLE_WAIT);
        if (load.done == count && !done)
            done = now();
        if (!n && load.done == count)
            break; /* a proxy that is slow to close its far ends: no failure, and not part of the time */
    }
    printf("{\"tunnels\": %ld, \"seconds\": %.6f}\n", count, done - begun);
}

static void hold_after_echo(struct connection *c, long number, const uint8_t *bytes, size_t length)
{
    if (length != 1 || *bytes != 'e')
        die("%zu bytes came back, of one", length);
    c->streams[number].phase = HELD;
    load.done++;
}

static void never_ends(struct connection *c, long number)
{
    die("the proxy ended stream %u, with %ld held", identifier_of(number), c->open);
}

static void hold(long at_once, long each)
{
    char line[32];
    load.at_once = at_once;
    load.each = each;
    echo_in_this_loop();
    on.established = send_key;
    on.data = hold_after_echo;
    on.ended = never_ends;
    while (fgets(line, sizeof line, stdin)) {
        load.goal = atol(line);
        while (load.done < load.goal) {
            if (!load.connection || (load.connection->greeted && !places(load.connection)))
                open_connection();
            ask_for_more();
            flush(load.connection);
            wait_once(-1);
        }
        printf("%ld\n", load.done);
        fflush(stdout);
        alarm(TIME_LIMIT);
    }
}

/* ---- down and up: one stream, whose target is another process and copies nothing ---- */

static uint8_t block[FRAME_MAX];
static bool started, finished; /* the bulk stream is established, and ended */

/* Starts a target in a child process, which serves one connection; its port. */
static int start_target(void (*serve)(int fd, long long size), long long size)
{
    int listener = listen_or_die();
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            die("accept: %s", strerror(errno));
        no_delay(fd);
        serve(fd, size);
        _exit(0);
    }
    int port = port_of(listener);
    close(listener);
    return port;
}

/* Bytes that come until the end. */
static long long drain_to_end(int fd)
{
    long long size = 0;
    ssize_t n;
    while ((n = recv(fd, NULL, BLOCK, MSG_TRUNC)) > 0)
        size += n;
    if (n < 0)
        die("the target was reset after %lld bytes: %s", size, strerror(errno));
    return size;
}

/* A byte starts it; the end of the other direction, which must come without another byte, ends it. */
static void pour_size(int fd, long long size)
{
    char byte;
    if (recv(fd, &byte, 1, 0) != 1)
        die("the target was not spoken to");
    pour(fd, size);
    shutdown(fd, SHUT_WR);
    if (drain_to_end(fd))
        die("more came to the target than was sent");
}

static void drain_size(int fd, long long size)
{
    long long came = drain_to_end(fd);
    if (came != size)
        die("%lld bytes of %lld came to the target", came, size);
    if (send(fd, "k", 1, MSG_NOSIGNAL) != 1)
        die("send: %s", strerror(errno));
}

/* Adds bulk to what is to be sent, in whole frames as long as the windows allow; `left` bytes at most. What it added. */
static long long pump(struct connection *c, long number, long long left)
{
    struct stream *s = &c->streams[number];
    long frame = c->max_frame < FRAME_MAX ? c->max_frame : FRAME_MAX;
    long long added = 0;
    c->eager = false;
    while (left && c->out_end - c->out_begin < CHUNK) {
        long size = left < frame ? left : frame;
        if (size > c->initial_window)
            size = c->initial_window; /* a whole frame would never fit */
        if (size > s->room || size > c->room)
            return added;
        add_data(c, number, block, size, false);
        left -= size;
        added += size;
    }
    c->eager = left && s->room >= frame && c->room >= frame;
    return added;
}

static long long bulk_left;

static void start_pouring(struct connection *c, long number)
{
    send_key(c, number);
    started = true;
}

static void check_bulk(struct connection *c, long number, const uint8_t *bytes, size_t length)
{
    (void)c, (void)number;
    if (bytes[0] != 'x' || bytes[length - 1] != 'x')
        die("other bytes came than were sent");
    bulk_left -= length;
}

static void end_of_pouring(struct connection *c, long number)
{
    if (bulk_left)
        die("the stream ended with %lld bytes to go", bulk_left);
    end_stream_here(c, number);
    finished = true;
}

static void start_sending(struct connection *c, long number)
{
    (void)c, (void)number;
    started = true;
}

static void check_answer(struct connection *c, long number, const uint8_t *bytes, size_t length)
{
    if (!c->streams[number].ended_here || length != 1 || *bytes != 'k')
        die("the target's answer came early, or is none");
}

static void end_of_answer(struct connection *c, long number)
{
    if (c->streams[number].received != 1)
        die("the stream ended without the target's answer");
    finished = true;
}

static void send_bulk(void)
{
    if (!started || finished)
        return;
    bulk_left -= pump(load.connection, 0, bulk_left);
    if (!bulk_left && !load.connection->streams[0].ended_here)
        end_stream_here(load.connection, 0);
}

static void ask_once_greeted(int port)
{
    while (!load.connection->greeted)
        wait_once(-1);
    ask(load.connection, 1, port);
    flush(load.connection);
}

static void bulk(bool down, long long size)
{
    int status, port = start_target(down ? pour_size : drain_size, size);
    double begun;
    memset(block, 'x', sizeof block);
    bulk_left = size;
    on.established = down ? start_pouring : start_sending;
    on.data = down ? check_bulk : check_answer;
    on.ended = down ? end_of_pouring : end_of_answer;
    open_connection();
    ask_once_greeted(port);
    while (!started)
        wait_once(-1);
    begun = now();
    if (!down)
        on.turn = send_bulk;
    while (!finished) {
        on.turn();
        flush(load.connection);
        wait_once(-1);
    }
    double took = now() - begun;
    flush(load.connection);
    if (waitpid(child, &status, 0) != child || status)
        die("the target failed"); /* it has said why */
    printf("{\"seconds\": %.6f}\n", took);
}

/* ---- keys and pingpong: one or two streams of a connection ---- */

static double times[KEYSTROKES], pressed, next_key;
static long typed, wanted = KEYSTROKES;
static size_t key_size = 1, key_came; /* bytes of a keystroke; those of it that have come back */
static int (*key_pause)(void);        /* microseconds until the next one */
static bool waiting;
static long long carried; /* bytes of the bulk stream */
enum { KEYS_STREAM, BULK_STREAM };

static void echo_for_ever(int fd, long long unused)
{
    char bytes[CHUNK];
    ssize_t n;
    (void)unused;
    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0)
        if (send(fd, bytes, n, MSG_NOSIGNAL) != n)
            return;
}

static void pour_for_ever(int fd, long long unused)
{
    (void)unused;
    pour_size(fd, LLONG_MAX);
}

static void drain_for_ever(int fd, long long unused)
{
    (void)unused;
    drain_to_end(fd);
}

static void open_keys_or_bulk(struct connection *c, long number)
{
    if (number == BULK_STREAM)
        start_pouring(c, number);
}

static void open_keys_or_upload(struct connection *c, long number)
{
    (void)c;
    if (number == BULK_STREAM)
        started = true;
}

static void on_key_or_bulk(struct connection *c, long number, const uint8_t *bytes, size_t length)
{
    (void)c, (void)bytes;
    if (number == BULK_STREAM) {
        carried += length;
        return;
    }
    key_came += length;
    if (!waiting || key_came > key_size)
        die("%zu bytes came back of a keystroke", key_came);
    if (key_came < key_size)
        return;
    waiting = false;
    if (typed < wanted)
        times[typed++] = now() - pressed;
    next_key = now() + key_pause() / 1e6;
}

static void type_if_due(void)
{
    if (waiting || now() < next_key)
        return;
    waiting = true;
    key_came = 0;
    pressed = now();
    add_data(load.connection, KEYS_STREAM, block, key_size, false);
}

static void type_and_send(void)
{
    type_if_due();
    carried += pump(load.connection, BULK_STREAM, LLONG_MAX);
}

static void run_until(double end)
{
    while (now() < end && typed < wanted) {
        on.turn();
        flush(load.connection);
        double left = waiting ? 1 : next_key - now();
        wait_once(left > 0 ? (int)(left * 1000) + 1 : 0);
    }
}

static int even_pause(void)
{
    return KEYSTROKE_PAUSE;
}

/* Else each keystroke would come at the same point of a turn of the proxy's loop. */
static int random_pause(void)
{
    return random() % PINGPONG_PAUSE;
}

static int no_pause(void)
{
    return 0;
}

static void open_stream_for(int port)
{
    ask_once_greeted(port);
    while (load.connection->streams[load.connection->opened - 1].phase != OPEN)
        wait_once(-1);
}

/* Opens the streams of an echo and, unless its port is 0, of bulk. */
static void open_streams(int echoed, int bulk)
{
    int limit = CHUNK;
    memset(block, 'k', sizeof block);
    load.window = WINDOW_BESIDE_KEYS;
    on.data = on_key_or_bulk;
    on.ended = never_ends;
    open_connection();
    /* What lies unsent in our own socket before a keystroke is not the proxy's delay. */
    setsockopt(load.connection->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &limit, sizeof limit);
    open_stream_for(echoed);
    if (bulk)
        open_stream_for(bulk);
}

static void type_for(double duration, bool bulk)
{
    run_until(now() + 0.3); /* until the windows have grown */
    long warm_up = typed;
    typed = 0;
    long long before = carried;
    double begun = now();
    run_until(begun + duration);
    double took = now() - begun;
    if (waiting && typed < wanted)
        times[typed++] = now() - pressed; /* one that is not answered takes at least as long */
    if (!typed || (bulk && carried == before))
        die("%ld keystrokes, %lld bytes in %.1f s", typed, carried - before, took);
    qsort(times, typed, sizeof *times, by_size);
    printf("{\"bytes\": %lld, \"seconds\": %.6f, \"trips\": %ld, \"all_trips\": %ld, ", carried - before, took, typed, typed + warm_up);
    printf("\"p50\": %.7f, \"p99\": %.7f, \"p999\": %.7f, \"worst\": %.7f}\n", times[typed / 2], times[typed * 99 / 100],
           times[typed * 999 / 1000], times[typed - 1]);
    fflush(stdout);
}

static void keys(bool down, double duration)
{
    int echoed = start_target(echo_for_ever, 0), other = child, bulk = start_target(down ? pour_for_ever : drain_for_ever, 0);
    key_pause = even_pause;
    on.established = down ? open_keys_or_bulk : open_keys_or_upload;
    open_streams(echoed, bulk);
    on.turn = down ? type_if_due : type_and_send;
    type_for(duration, true);
    kill(child, SIGKILL);
    kill(other, SIGKILL);
}

static void pingpong(long size, long count, double duration, bool beside)
{
    int echoed = start_target(echo_for_ever, 0), other = child, bulk = beside ? start_target(pour_for_ever, 0) : 0;
    if (size < 1 || size > FRAME_MAX || count < 1 || count > KEYSTROKES)
        die("a size of %ld bytes or a number of %ld is not supported", size, count);
    key_size = size;
    wanted = count;
    key_pause = beside ? random_pause : no_pause;
    on.established = open_keys_or_bulk;
    open_streams(echoed, bulk);
    on.turn = type_if_due;
    type_for(duration, beside);
    kill(child, SIGKILL);
    kill(other, SIGKILL);
}

int main(int argc, char **argv)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing outlives the harness */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGALRM, on_alarm);
    alarm(TIME_LIMIT);
    if (argc < 5)
        die("wrong use: see the head of http2.c");
    const char *mode = argv[1];
    prepare(argv[2], atoi(argv[3]));
    if (argc == 6 && !strcmp(mode, "rate"))
        rate(atol(argv[4]), atol(argv[5]));
    else if (argc == 6 && !strcmp(mode, "hold"))
        hold(atol(argv[4]), atol(argv[5]));
    else if (argc == 5 && (!strcmp(mode, "down") || !strcmp(mode, "up")))
        bulk(!strcmp(mode, "down"), atoll(argv[4]));
    else if (argc == 6 && !strcmp(mode, "keys"))
        keys(!strcmp(argv[4], "down"), atof(argv[5]));
    else if (argc == 8 && !strcmp(mode, "pingpong"))
        pingpong(atol(argv[4]), atol(argv[5]), atof(argv[6]), !strcmp(argv[7], "beside"));
    else
        die("%s: no such program, or wrong use: see the head of http2.c", mode);
    return 0;
}
