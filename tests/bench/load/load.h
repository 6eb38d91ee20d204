/* What the load generators share: the end of a program that failed, time, sockets on loopback, bulk data that is not copied. */
#pragma once
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wunused-function" /* each program uses a part of this */

enum {
    TIME_LIMIT = 90, HEAD_MAX = 4096, ADDRESSES = 16, BLOCK = 1 << 20, KEYSTROKES = 100000,
    KEYSTROKE_PAUSE = 5000, PINGPONG_PAUSE = 1000 /* microseconds; the latter at most */
};

static pid_t child;

static __attribute__((noreturn)) void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    if (child > 0)
        kill(child, SIGKILL);
    exit(1);
}

static void on_alarm(int signal_number)
{
    (void)signal_number;
    static const char text[] = "the time limit of the sample was reached\n";
    ssize_t unused = write(2, text, sizeof text - 1);
    (void)unused;
    if (child > 0)
        kill(child, SIGKILL);
    _exit(1);
}

static double seconds(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t))
        die("clock_gettime: %s", strerror(errno));
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double now(void)
{
    return seconds(CLOCK_MONOTONIC);
}

/* 127.0.0.HOST:PORT; the many addresses keep one target's ports in TIME_WAIT from slowing the proxy's next connect(). */
static struct sockaddr_in loopback(int host, int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + host);
    return address;
}

static int try_listen(int host, int port, int flags)
{
    struct sockaddr_in address = loopback(host, port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 4096) == 0)
        return fd;
    close(fd);
    return -1;
}

static int port_of(int fd)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length))
        die("getsockname: %s", strerror(errno));
    return ntohs(address.sin_port);
}

static int listen_or_die(void)
{
    int fd = try_listen(1, 0, 0);
    if (fd < 0)
        die("listen: %s", strerror(errno));
    return fd;
}

static void no_delay(int fd)
{
    int on = 1; /* else a second small write waits for the peer's delayed acknowledgement: 40 ms that are not the peer's */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* ---- bulk data without a copy in this process, so that the measured one is the bottleneck ---- */

/* SIZE bytes to a socket: pages of a memfd are lent to it. */
static void pour(int fd, long long size)
{
    static char text[BLOCK]; /* no NUL: corkscrew loses what comes with the head from the first one on, and would hang here */
    int memory = memfd_create("source", MFD_CLOEXEC);
    memset(text, 'x', BLOCK);
    if (memory < 0 || write(memory, text, BLOCK) != BLOCK)
        die("memfd: %s", strerror(errno));
    while (size > 0) {
        off_t offset = 0;
        ssize_t n = sendfile(fd, memory, &offset, size < BLOCK ? (size_t)size : BLOCK);
        if (n <= 0)
            die("sendfile: %s with %lld bytes to go", n ? strerror(errno) : "nothing sent", size);
        size -= n;
    }
    close(memory);
}

/* SIZE bytes from a socket: MSG_TRUNC lets TCP drop them in the kernel. */
static void drain(int fd, long long size)
{
    while (size > 0) {
        ssize_t n = recv(fd, NULL, size < BLOCK ? (size_t)size : BLOCK, MSG_TRUNC);
        if (n <= 0)
            die("recv: %s with %lld bytes to go", n ? strerror(errno) : "end of stream", size);
        size -= n;
    }
}

static int by_size(const void *one, const void *other)
{
    double difference = *(const double *)one - *(const double *)other;
    return (difference > 0) - (difference < 0);
}

/* As many descriptors as may be; how many that are. */
static long raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit))
        die("getrlimit: %s", strerror(errno));
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit))
        die("setrlimit: %s", strerror(errno));
    return limit.rlim_max;
}

/* ---- a connection, and the heads of HTTP on it ---- */

static int connect_to(struct sockaddr_in address, int receive_buffer)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer) /* before connect(): the window is announced with the SYN */
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
        die("connect: %s", strerror(errno));
    no_delay(fd);
    return fd;
}

static void send_all(int fd, const char *text)
{
    size_t length = strlen(text);
    if (send(fd, text, length, MSG_NOSIGNAL) != (ssize_t)length)
        die("send: %s", strerror(errno));
}

/* Reads a head to its exact end: it peeks, so that the bytes behind it stay in the socket. */
static void read_head(int fd, char *head)
{
    for (;;) {
        ssize_t n = recv(fd, head, HEAD_MAX, MSG_PEEK);
        if (n <= 0)
            die("no head: %s", n ? strerror(errno) : "end of stream");
        head[n] = 0;
        char *end = strstr(head, "\r\n\r\n");
        if (end) {
            end[4] = 0;
            if (recv(fd, head, end + 4 - head, 0) < 0)
                die("recv: %s", strerror(errno));
            return;
        }
        if (n == HEAD_MAX)
            die("a head of more than %d bytes", HEAD_MAX);
        usleep(100);
    }
}

static void check_status(const char *head)
{
    if (strncmp(head, "HTTP/1.", 7) || strncmp(head + 8, " 2", 2))
        die("the proxy answered %.*s", (int)strcspn(head, "\r\n"), head);
}

/* ---- a client between two pipes ---- */

struct pipes {
    int feed, answer; /* our ends of the client's stdin and stdout */
};

static struct pipes start_client(char **argv)
{
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
        die("pipe: %s", strerror(errno));
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGPIPE, SIG_DFL);
        dup2(in[0], 0);
        dup2(out[1], 1);
        execvp(argv[0], argv);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    return (struct pipes){in[1], out[0]};
}

/* CPU seconds that the client has used so far. */
static double cpu_of_child(void)
{
    clockid_t clock;
    if (clock_getcpuclockid(child, &clock))
        die("clock_getcpuclockid: %s", strerror(errno));
    return seconds(clock);
}
