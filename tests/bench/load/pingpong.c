/* Round trips of a message through one program to an echo and back, one after the other: how long each of them takes. One JSON
 * object on stdout and exit 0, or one line on stderr and exit 1. Loopback only, every wait bounded by the alarm.
 *
 *   pingpong SIZE COUNT SECONDS alone|beside WAY
 *
 * SIZE bytes, COUNT times, or as often as SECONDS allow. `alone` has no pause between two round trips. `beside` has one, of random
 * length, while a second connection of the same way carries all that it can. The target is that of `load proxy` for keystrokes.
 * A WAY is one of
 *
 *   to ADDRESS:PORT                to a local port that leads to the target, or to the target itself
 *   by PORT TARGET:PORT            through the proxy on PORT
 *   run CMD...                     between the two pipes of CMD; of a second one for bulk
 */
#include "load.h"

enum { MESSAGE_MAX = 4096, WARM_UP = 100, GROWN = 500000 /* microseconds */ };

struct way {
    int in, out; /* what is read from and written to; for a socket, the same */
    bool socket;
};

static struct sockaddr_in address_of(const char *text)
{
    int host, port;
    if (sscanf(text, "127.0.0.%d:%d", &host, &port) != 2)
        die("%s: no address and port of loopback", text);
    return loopback(host, port);
}

static struct way ask(int proxy_port, const char *target)
{
    char head[HEAD_MAX + 1];
    int fd = connect_to(loopback(1, proxy_port), 0);
    snprintf(head, sizeof head, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target);
    send_all(fd, head);
    read_head(fd, head);
    check_status(head);
    return (struct way){fd, fd, true};
}

static struct way open_way(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[0], "to")) {
        int fd = connect_to(address_of(argv[1]), 0);
        return (struct way){fd, fd, true};
    }
    if (argc == 3 && !strcmp(argv[0], "by"))
        return ask(atoi(argv[1]), argv[2]);
    if (argc < 2 || strcmp(argv[0], "run"))
        die("%s: no such way: see the head of pingpong.c", argv[0]);
    struct pipes pipes = start_client(argv + 1);
    return (struct way){pipes.answer, pipes.feed, false};
}

static void say(const struct way *way, const char *bytes, size_t length)
{
    if (write(way->out, bytes, length) != (ssize_t)length)
        die("write: %s", strerror(errno));
}

static void hear(const struct way *way, char *bytes, size_t length)
{
    while (length) {
        ssize_t n = read(way->in, bytes, length);
        if (n <= 0)
            die("the way ended: %s", n ? strerror(errno) : "end of stream");
        length -= n;
    }
}

/* Takes all that comes, without a copy, and counts it where the parent sees it. */
static void drain_for_ever(const struct way *way, volatile long long *count)
{
    int sink = open("/dev/null", O_WRONLY | O_CLOEXEC);
    for (;;) {
        ssize_t n = way->socket ? recv(way->in, NULL, BLOCK, MSG_TRUNC) : splice(way->in, NULL, sink, NULL, BLOCK, 0);
        if (n <= 0)
            die("bulk ended after %lld bytes: %s", *count, n ? strerror(errno) : "end of stream");
        *count += n;
    }
}

static pid_t bulk_process;

/* Starts bulk in a process of its own; where its bytes are counted. */
static volatile long long *start_bulk(int argc, char **argv)
{
    volatile long long *count = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bulk_process = fork();
    if (bulk_process == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct way way = open_way(argc, argv);
        say(&way, "p", 1);
        drain_for_ever(&way, count);
    }
    usleep(GROWN); /* until the windows have grown */
    if (!*count)
        die("no bulk has come");
    return count;
}

static double round_trip(const struct way *way, char *message, size_t size)
{
    double begun = now();
    say(way, message, size);
    hear(way, message, size);
    return now() - begun;
}

static void start_echo(const struct way *way, char *message, size_t size)
{
    say(way, "e", 1);
    hear(way, message, 1);
    for (int i = 0; i < WARM_UP; i++)
        round_trip(way, message, size);
}

static void measure(const struct way *way, size_t size, long count, double duration, volatile long long *bulk)
{
    char message[MESSAGE_MAX];
    double *times = calloc(count, sizeof *times);
    long done = 0;
    memset(message, 'k', sizeof message);
    start_echo(way, message, size);
    long long before = bulk ? *bulk : 0;
    double begun = now(), cpu = child > 0 ? cpu_of_child() : 0;
    while (done < count && now() - begun < duration) {
        times[done++] = round_trip(way, message, size);
        if (bulk)
            usleep(random() % PINGPONG_PAUSE); /* else each would begin at the same point of a turn of the program's loop */
    }
    double took = now() - begun;
    long long carried = bulk ? *bulk - before : 0;
    if (bulk && waitpid(bulk_process, NULL, WNOHANG))
        die("bulk ended early"); /* it has said why */
    cpu = child > 0 ? cpu_of_child() - cpu : 0;
    qsort(times, done, sizeof *times, by_size);
    printf("{\"bytes\": %lld, \"seconds\": %.6f, \"trips\": %ld, \"all_trips\": %ld, \"cpu\": %.6f, ", carried,
           took, done, done + WARM_UP, cpu);
    printf("\"p50\": %.7f, \"p99\": %.7f, \"p999\": %.7f, \"worst\": %.7f}\n", times[done / 2], times[done * 99 / 100],
           times[done * 999 / 1000], times[done - 1]);
}

int main(int argc, char **argv)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing outlives the harness */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGALRM, on_alarm);
    alarm(TIME_LIMIT);
    if (argc < 7 || atol(argv[1]) < 1 || atol(argv[1]) > MESSAGE_MAX)
        die("wrong use: see the head of pingpong.c");
    bool beside = !strcmp(argv[4], "beside");
    volatile long long *bulk = beside ? start_bulk(argc - 5, argv + 5) : NULL;
    struct way way = open_way(argc - 5, argv + 5);
    measure(&way, atol(argv[1]), atol(argv[2]), atof(argv[3]), bulk);
    fflush(stdout);
    _exit(0); /* the kernel ends the children */
}
