/* Messages of one size through a tunnel, each of which the target acknowledges with a byte before the next one is sent. A mode prints
 * one JSON object and exits 0, or one line on stderr and exits 1. Loopback only, every wait bounded by the alarm.
 *
 *   messages target                            prints its port, lives until killed. The first 8 octets of a connection say the size;
 *                                              a CONNECT before them is accepted, whatever it asks for
 *   messages tunnel PORT TARGET SIZE SECONDS   through the proxy on PORT; 0: straight to the target
 *   messages pipes SIZE SECONDS CMD...         through a command, between two pipes; `cpu` is what it used meanwhile
 */
#include "tunnel.h"

/* ---- target ---- */

static void acknowledge(int fd)
{
    char head[HEAD_MAX + 1];
    uint64_t size;
    no_delay(fd);
    if (recv(fd, head, 1, MSG_PEEK) == 1 && *head) { /* no size begins with a letter */
        read_head(fd, head);
        send_all(fd, "HTTP/1.1 200 OK\r\n\r\n");
    }
    if (recv(fd, &size, sizeof size, MSG_WAITALL) != sizeof size)
        _exit(0);
    while (recv(fd, head, 1, MSG_PEEK) == 1) {
        drain(fd, be64toh(size));
        send_all(fd, "k");
    }
    _exit(0);
}

static void target(void)
{
    int listener = listen_or_die();
    signal(SIGCHLD, SIG_IGN);
    printf("%d\n", port_of(listener));
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            die("accept: %s", strerror(errno));
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            alarm(TIME_LIMIT);
            acknowledge(fd);
        }
        close(fd);
    }
}

/* ---- sender ---- */

static void write_all(int fd, const char *bytes, size_t size)
{
    while (size) {
        ssize_t n = write(fd, bytes, size);
        if (n <= 0)
            die("write: %s", strerror(errno));
        bytes += n;
        size -= n;
    }
}

static double no_cpu(void)
{
    return 0;
}

/* Until `moment`, at least one; how many. */
static long long messages_until(double moment, int to, int from, const char *bytes, size_t size)
{
    long long sent = 0;
    do {
        char answer;
        write_all(to, bytes, size);
        if (read(from, &answer, 1) != 1)
            die("a message was not acknowledged");
        sent++;
    } while (now() < moment);
    return sent;
}

/* What comes in the first tenth of the time, in which buffers grow, is not measured. */
static void exchange(int to, int from, long long size, double duration, double (*cpu)(void))
{
    uint64_t announced = htobe64(size);
    char *bytes = malloc(size);
    memset(bytes, 'x', size);
    write_all(to, (char *)&announced, sizeof announced);
    long long before = messages_until(now() + duration / 10, to, from, bytes, size);
    double begun = now(), used = cpu();
    long long sent = messages_until(begun + duration, to, from, bytes, size);
    used = cpu() - used;
    printf("{\"messages\": %lld, \"seconds\": %.6f, \"cpu\": %.6f, \"before\": %lld}\n", sent, now() - begun, used, before);
    free(bytes);
}

static void between_pipes(long long size, double duration, char **argv)
{
    struct pipes pipes = start_client(argv);
    exchange(pipes.feed, pipes.answer, size, duration, cpu_of_child);
    kill(child, SIGKILL);
}

int main(int argc, char **argv)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGALRM, on_alarm);
    if (argc == 2 && !strcmp(argv[1], "target"))
        target();
    alarm(TIME_LIMIT);
    if (argc == 6 && !strcmp(argv[1], "tunnel")) {
        int fd = tunnel(proxy_at(argv[2]), atoi(argv[3]), 0);
        exchange(fd, fd, atoll(argv[4]), atof(argv[5]), no_cpu);
    } else if (argc >= 5 && !strcmp(argv[1], "pipes"))
        between_pipes(atoll(argv[2]), atof(argv[3]), argv + 4);
    else
        die("wrong use: see the head of messages.c");
    return 0;
}
