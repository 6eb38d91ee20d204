/* The moving parts of the benchmark that Python would slow down: a load generator, its targets, a scripted proxy, and a
 * parent that times one client. One program; a mode prints one JSON object a result and exits 0, or one line on
 * stderr and exits 1. Loopback only, every wait bounded by the alarm.
 *
 *   load proxy SIZE [ADDRESS]          scripted CONNECT proxy and its target in one; prints its port, lives until killed.
 *                                      CONNECT to port 1: a banner; 2: SIZE bytes down; 3: a byte, SIZE bytes up, a byte.
 *                                      4: as many bytes down as the client asks for. 5: `e` and all that follows comes back,
 *                                      or after `p` bytes without end.
 *                                      Ports 11 to 13 do the same once they are spoken to, by an HTTP request or an empty line.
 *                                      On 127.0.0.11 to 15 the same port is those targets, and asks for no CONNECT
 *   load run exit|start|down|up SIZE CMD...   start CMD with pipes as stdin and stdout and time it
 *   load straight down|up PORT SIZE    the same data without a client, over a connection to the targets of the proxy on PORT
 *   load rate PORT COUNT AT_ONCE [TARGETS [FIELD]]   COUNT tunnels through the proxy on PORT: CONNECT, one byte echoed, close
 *                                      (as for hold and bulk, PORT is one of 127.0.0.1, or an IPv4 ADDRESS:PORT; for rate and bulk,
 *                                      0 is no proxy: connections lead straight to the targets), to 16 addresses in turn, or to so
 *                                      many TARGETS; FIELD is one more field of the request, such as a login
 *   load hold PORT AT_ONCE             reads numbers from stdin; opens tunnels until that many are held, prints the number
 *   load local PORT COUNT AT_ONCE      COUNT connections to a local port that leads to an echo: one byte and back, close
 *   load down PORT SIZE STREAMS        SIZE bytes, over so many connections to a local port that leads to that target 4
 *   load echo ADDRESS                  a target that echoes; prints its port, lives until killed
 *   load bulk PORT SIZE                SIZE bytes down one tunnel
 *   load fair PORT STREAMS SECONDS     keystrokes through one tunnel while STREAMS others carry all they can; PORT 0: no proxy
 *   load stall PORT COUNT SIZE         COUNT tunnels to a target that pours; reads SIZE bytes of each, prints the number, and then
 *                                      reads no more until its stdin ends
 *   load leash CMD...                  becomes CMD, which is killed when the parent dies
 */
#include "tunnel.h"

enum { PORT_BANNER = 1, PORT_DOWN = 2, PORT_UP = 3, PORT_WANTED = 4, PORT_KEYS = 5, ASKED = 10, TARGET_HOST = 10 };

/* ---- proxy: scripted, one client at a time ---- */

/* Reads a head and accepts it, an empty one without a word. The port, if it is a CONNECT. */
static int requested_port(int fd)
{
    char head[HEAD_MAX + 1];
    read_head(fd, head);
    char *colon = strchr(head, ':');
    if (*head != '\r')
        send_all(fd, "HTTP/1.1 200 OK\r\n\r\n");
    return colon ? atoi(colon + 1) : 0;
}

/* How many bytes the client wants: eight octets say it. A single one before them is echoed, which shows that the way is open. */
static long long wanted(int fd)
{
    uint64_t number = 0;
    ssize_t n = recv(fd, &number, sizeof number, 0);
    if (n == 1 && send(fd, &number, 1, MSG_NOSIGNAL) == 1)
        n = recv(fd, &number, sizeof number, 0);
    return n == sizeof number ? (long long)be64toh(number) : 0;
}

/* For keystrokes, and for the bulk beside them: the first octet says which. */
static void echo_or_pour(int fd)
{
    char bytes[64 << 10];
    ssize_t n = recv(fd, bytes, 1, 0);
    if (n == 1 && *bytes == 'p')
        pour(fd, LLONG_MAX);
    while (n > 0 && send(fd, bytes, n, MSG_NOSIGNAL) == n)
        n = recv(fd, bytes, sizeof bytes, 0);
}

/* Does not return to its caller with an error: a client that leaves early is the client's failure, seen by `run`. */
static void serve_client(int fd, int port, long long size)
{
    no_delay(fd);
    if (!port)
        port = requested_port(fd);
    if (port > ASKED) {
        requested_port(fd);
        port -= ASKED;
    }
    if (port == PORT_BANNER)
        send_all(fd, "banner\r\n");
    if (port == PORT_DOWN)
        pour(fd, size);
    if (port == PORT_WANTED)
        pour(fd, wanted(fd));
    if (port == PORT_KEYS)
        echo_or_pour(fd);
    if (port == PORT_UP) {
        send_all(fd, "b");
        drain(fd, size);
        send_all(fd, "k");
    }
    while (recv(fd, NULL, BLOCK, MSG_TRUNC) > 0)
        ; /* until the client has gone: closing first would take part in the client's end */
}

static void accept_forever(int listener, int port, long long size)
{
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            die("accept: %s", strerror(errno));
        pid_t pid = fork(); /* a child for each client: its failure ends the child only */
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            alarm(TIME_LIMIT);
            serve_client(fd, port, size);
            _exit(0);
        }
        close(fd);
    }
}

static void proxy(long long size, const char *address)
{
    int listener = try_listen(1 + ntohl(inet_addr(address)) - INADDR_LOOPBACK, 0, 0);
    if (listener < 0)
        die("listen: %s", strerror(errno));
    signal(SIGCHLD, SIG_IGN);
    for (int port = PORT_BANNER; port <= PORT_KEYS; port++) {
        int target = try_listen(TARGET_HOST + port, port_of(listener), 0);
        if (target < 0)
            die("listen: %s", strerror(errno));
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            accept_forever(target, port, size);
        }
        close(target);
    }
    printf("%d\n", port_of(listener));
    fflush(stdout);
    accept_forever(listener, 0, size);
}

/* ---- run: one client between two pipes ---- */

static void expect_byte(int fd)
{
    char byte;
    if (read(fd, &byte, 1) != 1)
        die("the client ended without the byte that was due");
}

static void swallow(int fd, long long size)
{
    int sink = open("/dev/null", O_WRONLY | O_CLOEXEC);
    while (size > 0) {
        ssize_t n = splice(fd, NULL, sink, NULL, size < BLOCK ? (size_t)size : BLOCK, 0);
        if (n <= 0)
            die("the client ended with %lld bytes to go", size);
        size -= n;
    }
    close(sink);
}

static void feed(int fd, long long size)
{
    char *block = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (block == MAP_FAILED)
        die("mmap: %s", strerror(errno));
    while (size > 0) {
        struct iovec piece = {block, size < BLOCK ? (size_t)size : BLOCK};
        ssize_t n = vmsplice(fd, &piece, 1, 0);
        if (n <= 0)
            die("the client took no more with %lld bytes to go", size);
        size -= n;
    }
}

static double cpu_in_all(const struct rusage *usage)
{
    const struct timeval *user = &usage->ru_utime, *system = &usage->ru_stime;
    return user->tv_sec + system->tv_sec + (user->tv_usec + system->tv_usec) / 1e6;
}

/* `cpu` is what the client used from its first byte to its end, so that it does not depend on SIZE; `start_cpu` before. */
static void run(const char *mode, long long size, char **argv)
{
    struct rusage usage;
    double begun = now(), first = 0, bulk = 0, start_cpu = 0;
    struct pipes pipes = start_client(argv);
    if (strcmp(mode, "exit")) {
        if (write(pipes.feed, "\r\n\r\n", 4) != 4) /* this side speaks at once, as ssh does; ports 11 to 13 wait for it */
            die("write: %s", strerror(errno));
        expect_byte(pipes.answer);
        first = now();
        start_cpu = cpu_of_child();
        if (!strcmp(mode, "down"))
            swallow(pipes.answer, size - 1);
        if (!strcmp(mode, "up")) {
            feed(pipes.feed, size);
            expect_byte(pipes.answer);
        }
        bulk = now() - first;
        kill(child, SIGHUP); /* with the pipes closed: how ssh leaves its ProxyCommand */
    }
    close(pipes.feed);
    close(pipes.answer);
    if (wait4(child, NULL, 0, &usage) != child)
        die("wait4: %s", strerror(errno));
    if (!first)
        first = now();
    printf("{\"first\": %.6f, \"bulk\": %.6f, \"start_cpu\": %.6f, ", first - begun, bulk, start_cpu);
    printf("\"cpu\": %.6f, \"rss\": %ld}\n", cpu_in_all(&usage) - start_cpu, usage.ru_maxrss);
}

/* What a client between two pipes cannot surpass. */
static void straight(bool down, int port, long long size)
{
    int fd = connect_to(loopback(TARGET_HOST + (down ? PORT_DOWN : PORT_UP), port), 0);
    char byte;
    if (recv(fd, &byte, 1, 0) != 1)
        die("the target does not answer");
    double begun = now();
    if (down)
        drain(fd, size - 1);
    else
        pour(fd, size);
    if (!down && recv(fd, &byte, 1, 0) != 1)
        die("the target ended before all had come");
    printf("{\"bulk\": %.6f}\n", now() - begun);
}

/* ---- rate and hold: generator and echo target in one loop, which leaves the other core to the proxy ---- */

enum state { FREE, LISTENER, TARGET, CONNECTING, HEAD, ECHO, HELD };

static struct {
    enum state *state; /* by descriptor */
    long descriptors; /* at most */
    int epoll, proxy_port, target_port, first_host, hosts; /* the target's addresses */
    const char *field; /* of each request, with its end of line, or "" */
    long opened, open, goal; /* tunnels opened so far, tunnels between connect() and their echo, tunnels wanted */
    long targets;            /* target ends that are open */
    bool keep;               /* hold the tunnels, rather than close each after its echo */
    bool local;              /* the port leads to its target by itself: nothing is asked for */
} load;

static void watch(int fd, enum state state, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, fd, &event))
        die("epoll: %s", strerror(errno));
    load.state[fd] = state;
}

static void drop(int fd)
{
    load.state[fd] = FREE;
    close(fd);
}

static void open_tunnel(void)
{
    int host = 1 + load.opened % ADDRESSES;
    struct sockaddr_in proxy = load.proxy_port ? proxy_address(load.proxy_port) : loopback(host, load.target_port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || (connect(fd, (struct sockaddr *)&proxy, sizeof proxy) && errno != EINPROGRESS))
        die("connect: %s", strerror(errno));
    no_delay(fd);
    watch(fd, CONNECTING, EPOLLIN | EPOLLOUT | EPOLLET);
    load.opened++;
    load.open++;
}

static void request(int fd)
{
    char head[512], name[INET_ADDRSTRLEN];
    struct sockaddr_in target = loopback(load.first_host + load.opened % load.hosts, load.target_port);
    inet_ntop(AF_INET, &target.sin_addr, name, sizeof name);
    snprintf(head, sizeof head, "CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\n%s\r\n", name, load.target_port, name, load.target_port,
             load.field);
    send_all(fd, head);
    load.state[fd] = HEAD;
}

/* The answer is peeked at, until it is whole; the target is silent until it is spoken to, so nothing lies behind it. */
static void on_head(int fd)
{
    char head[HEAD_MAX + 1];
    ssize_t n = recv(fd, head, HEAD_MAX, MSG_PEEK);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        die("no answer from the proxy: %s (tunnel %ld)", n ? strerror(errno) : "end of stream", load.opened);
    head[n] = 0;
    if (!strstr(head, "\r\n\r\n"))
        return;
    check_status(head);
    if (recv(fd, head, n, 0) != n)
        die("recv: %s", strerror(errno));
    send_all(fd, "e");
    load.state[fd] = ECHO;
}

static void on_echo(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n != 1)
        die("no echo: %s", n ? strerror(errno) : "end of stream");
    load.open--;
    if (load.keep)
        load.state[fd] = HELD;
    else
        drop(fd);
}

static void on_target(int fd)
{
    char bytes[64];
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n > 0 && send(fd, bytes, n, MSG_NOSIGNAL) == n)
        return;
    load.targets--;
    drop(fd);
}

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

static void on_event(int fd, uint32_t events)
{
    switch (load.state[fd]) {
    case LISTENER: on_listener(fd); break;
    case TARGET: on_target(fd); break;
    case CONNECTING:
        if (events & (EPOLLERR | EPOLLHUP))
            die("the proxy does not accept");
        if (load.local) {
            send_all(fd, "e");
            load.state[fd] = ECHO;
        } else
            request(fd);
        break;
    case HEAD: on_head(fd); break;
    case ECHO: on_echo(fd); break;
    case HELD: die("a held tunnel was closed by the proxy, with %ld open", load.opened);
    case FREE: break; /* closed earlier in the same batch of events */
    }
}

/* Opens tunnels, at_once of them under way, until goal is reached; then waits for `targets` target ends to remain. */
static void turn(long goal, long at_once, long targets, double *done)
{
    struct epoll_event events[256];
    load.goal = goal;
    *done = 0;
    while (load.opened < goal || load.open || load.targets > targets) {
        while (load.opened < goal && load.open < at_once)
            open_tunnel();
        int n = epoll_wait(load.epoll, events, 256, 5000);
        if (n == 0 && load.opened == goal && !load.open)
            break; /* a proxy that is slow to close its far ends: no failure, and not part of the time */
        for (int i = 0; i < n; i++)
            on_event(events[i].data.fd, events[i].events);
        if (load.opened == goal && !load.open && !*done)
            *done = now();
    }
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

static void prepare_to_open(int proxy_port)
{
    load.descriptors = raise_descriptor_limit();
    load.state = calloc(load.descriptors, sizeof *load.state);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.proxy_port = proxy_port;
    load.field = "";
    load.first_host = 1;
    load.hosts = ADDRESSES;
}

static void prepare(int proxy_port)
{
    prepare_to_open(proxy_port);
    for (int attempt = 0; !listen_everywhere(); attempt++)
        if (attempt == 10) /* an attempt that failed leaves listeners that nobody is told of */
            die("no port that is free on %d loopback addresses", ADDRESSES);
}

/* One listener for all of 127.0.0.0/8, in which there are as many targets as one may want. */
static void prepare_targets(int proxy_port, int targets)
{
    int fd = try_listen(1 - INADDR_LOOPBACK, 0, SOCK_NONBLOCK); /* on 0.0.0.0 */
    if (fd < 0)
        die("listen: %s", strerror(errno));
    prepare_to_open(proxy_port);
    load.first_host = 1 << 16; /* 127.1.0.0, where nothing else is */
    load.hosts = targets;
    load.target_port = port_of(fd);
    watch(fd, LISTENER, EPOLLIN);
}

static void rate(int proxy_port, long count, long at_once, int targets, const char *field)
{
    double done, begun;
    char line[256];
    if (targets)
        prepare_targets(proxy_port, targets);
    else
        prepare(proxy_port);
    snprintf(line, sizeof line, "%s%s", field, *field ? "\r\n" : "");
    load.field = line;
    load.local = !proxy_port;
    begun = now();
    turn(count, at_once, 0, &done);
    printf("{\"tunnels\": %ld, \"seconds\": %.6f}\n", count, done - begun);
}

static void local(int port, long count, long at_once)
{
    double done, begun;
    prepare_to_open(port);
    load.local = true;
    begun = now();
    turn(count, at_once, 0, &done);
    printf("{\"seconds\": %.6f}\n", done - begun);
}

static void down(int port, long long size, long streams)
{
    struct sockaddr_in address = loopback(1, port);
    struct epoll_event events[256];
    long long *left;
    double begun;
    prepare_to_open(port);
    left = calloc(load.descriptors, sizeof *left); /* by descriptor */
    begun = now();
    for (long i = 0; i < streams; i++) {
        uint64_t number = htobe64(size / streams);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) || send(fd, &number, sizeof number, MSG_NOSIGNAL) < 0)
            die("connect: %s", strerror(errno));
        left[fd] = size / streams;
        watch(fd, ECHO, EPOLLIN);
    }
    while (streams) {
        int n = epoll_wait(load.epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            ssize_t count = recv(fd, NULL, left[fd] < BLOCK ? (size_t)left[fd] : BLOCK, MSG_TRUNC | MSG_DONTWAIT);
            if (count < 0 && errno == EAGAIN)
                continue;
            if (count <= 0)
                die("a stream ended with %lld bytes to go: %s", left[fd], count ? strerror(errno) : "end of stream");
            left[fd] -= count;
            if (!left[fd]) {
                drop(fd);
                streams--;
            }
        }
    }
    printf("{\"seconds\": %.6f}\n", now() - begun);
}

static void echo(const char *address)
{
    struct epoll_event events[256];
    struct sockaddr_in here = {.sin_family = AF_INET};
    socklen_t size = sizeof here;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    prepare_to_open(0);
    if (inet_pton(AF_INET, address, &here.sin_addr) != 1 || bind(listener, (struct sockaddr *)&here, size) || listen(listener, 4096) ||
        getsockname(listener, (struct sockaddr *)&here, &size))
        die("cannot listen on %s: %s", address, strerror(errno));
    watch(listener, LISTENER, EPOLLIN);
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);
    alarm(0);
    for (;;) {
        int n = epoll_wait(load.epoll, events, 256, -1);
        for (int i = 0; i < n; i++)
            on_event(events[i].data.fd, events[i].events);
    }
}

static void hold(int proxy_port, long at_once)
{
    char line[32];
    double done;
    prepare(proxy_port);
    load.keep = true;
    while (fgets(line, sizeof line, stdin)) {
        turn(atol(line), at_once, atol(line), &done);
        printf("%ld\n", load.opened);
        fflush(stdout);
        alarm(TIME_LIMIT);
    }
}

/* ---- bulk: one tunnel, both ends blocking, in two processes ---- */

static void bulk(int proxy_port, long long size)
{
    char head[HEAD_MAX + 1];
    int listener = listen_or_die(), target_port = port_of(listener);
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int far = accept(listener, NULL, NULL);
        if (recv(far, head, 1, 0) == 1) /* the generator is ready, and its clock runs */
            pour(far, size);
        _exit(0);
    }
    int fd = tunnel(proxy_port, target_port, 0);
    double begun = now();
    send_all(fd, "d");
    drain(fd, size);
    printf("{\"seconds\": %.6f}\n", now() - begun);
    kill(child, SIGKILL);
}

/* ---- fair and stall: targets that pour into whatever takes it, in a process of their own ---- */

/* Starts a target in a child process; its port. */
static int start_target(void (*serve)(int listener))
{
    int listener = try_listen(1, 0, SOCK_NONBLOCK);
    if (listener < 0)
        die("listen: %s", strerror(errno));
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(listener);
    }
    int port = port_of(listener);
    close(listener);
    return port;
}

static void pour_for_ever(int listener)
{
    struct epoll_event events[256];
    static char text[BLOCK];
    int memory = memfd_create("source", MFD_CLOEXEC);
    memset(text, 'x', BLOCK);
    if (memory < 0 || write(memory, text, BLOCK) != BLOCK)
        die("memfd: %s", strerror(errno));
    prepare_to_open(0);
    watch(listener, LISTENER, EPOLLIN);
    for (;;) {
        int n = epoll_wait(load.epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            off_t offset = 0;
            if (fd != listener) {
                if (sendfile(fd, memory, &offset, BLOCK) < 0 && errno != EAGAIN)
                    drop(fd);
            } else if ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
                watch(fd, TARGET, EPOLLOUT);
        }
    }
}

static void echo_for_ever(int listener)
{
    struct epoll_event events[256];
    prepare_to_open(0);
    watch(listener, LISTENER, EPOLLIN);
    for (;;) {
        int n = epoll_wait(load.epoll, events, 256, -1);
        for (int i = 0; i < n; i++)
            on_event(events[i].data.fd, events[i].events);
    }
}

/* Takes all that comes on these tunnels, and counts it where the parent sees it. */
static void drain_for_ever(const int *fds, long streams, volatile long long *count)
{
    struct epoll_event events[256];
    prepare_to_open(0);
    for (long i = 0; i < streams; i++)
        watch(fds[i], ECHO, EPOLLIN);
    for (;;) {
        int n = epoll_wait(load.epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            ssize_t taken = recv(events[i].data.fd, NULL, BLOCK, MSG_TRUNC | MSG_DONTWAIT);
            if (taken > 0)
                *count += taken;
            else if (!taken || errno != EAGAIN)
                die("a bulk tunnel ended: %s", taken ? strerror(errno) : "end of stream");
        }
    }
}

static void fair(int proxy_port, long streams, double duration)
{
    static double times[KEYSTROKES];
    long typed = 0;
    int poured = start_target(pour_for_ever), echoed = start_target(echo_for_ever), *fds = calloc(streams + 1, sizeof *fds);
    volatile long long *count = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int keys = tunnel(proxy_port, echoed, 0);
    for (long i = 0; i < streams; i++)
        fds[i] = tunnel(proxy_port, poured, 0);
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        drain_for_ever(fds, streams, count);
    }
    usleep(500000); /* until the windows have grown */
    long long before = *count;
    double begun = now();
    while (now() - begun < duration && typed < KEYSTROKES) {
        char key = 'k';
        double pressed = now();
        if (send(keys, &key, 1, MSG_NOSIGNAL) != 1 || recv(keys, &key, 1, 0) != 1)
            die("the tunnel for keystrokes ended");
        times[typed++] = now() - pressed;
        usleep(KEYSTROKE_PAUSE);
    }
    double took = now() - begun;
    qsort(times, typed, sizeof *times, by_size);
    printf("{\"bytes\": %lld, \"seconds\": %.6f, \"p50\": %.6f, \"p99\": %.6f, \"worst\": %.6f, ", *count - before, took,
           times[typed / 2], times[typed * 99 / 100], times[typed - 1]);
    printf("\"bytes_in_all\": %lld}\n", *count); /* those until the windows had grown as well */
    fflush(stdout);
    _exit(0); /* the kernel ends the children */
}

static void stall(int proxy_port, long count, long long size)
{
    char line[8];
    int poured = start_target(pour_for_ever), *fds = calloc(count, sizeof *fds);
    for (long i = 0; i < count; i++)
        fds[i] = tunnel(proxy_port, poured, size ? 0 : 4096);
    for (long i = 0; i < count; i++)
        drain(fds[i], size);
    printf("%ld\n", count);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin))
        ;
}

int main(int argc, char **argv)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing outlives the harness */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGALRM, on_alarm);
    if ((argc == 3 || argc == 4) && !strcmp(argv[1], "proxy"))
        proxy(atoll(argv[2]), argc > 3 ? argv[3] : "127.0.0.1");
    if (argc >= 3 && !strcmp(argv[1], "leash"))
        execvp(argv[2], argv + 2);
    alarm(TIME_LIMIT);
    if (argc >= 5 && !strcmp(argv[1], "run"))
        run(argv[2], atoll(argv[3]), argv + 4);
    else if (argc == 5 && !strcmp(argv[1], "straight"))
        straight(!strcmp(argv[2], "down"), atoi(argv[3]), atoll(argv[4]));
    else if (argc >= 5 && argc <= 7 && !strcmp(argv[1], "rate"))
        rate(proxy_at(argv[2]), atol(argv[3]), atol(argv[4]), argc > 5 ? atoi(argv[5]) : 0, argc > 6 ? argv[6] : "");
    else if (argc == 5 && !strcmp(argv[1], "local"))
        local(atoi(argv[2]), atol(argv[3]), atol(argv[4]));
    else if (argc == 5 && !strcmp(argv[1], "down"))
        down(atoi(argv[2]), atoll(argv[3]), atol(argv[4]));
    else if (argc == 3 && !strcmp(argv[1], "echo"))
        echo(argv[2]);
    else if (argc == 4 && !strcmp(argv[1], "hold"))
        hold(proxy_at(argv[2]), atol(argv[3]));
    else if (argc == 4 && !strcmp(argv[1], "bulk"))
        bulk(proxy_at(argv[2]), atoll(argv[3]));
    else if (argc == 5 && !strcmp(argv[1], "fair"))
        fair(atoi(argv[2]), atol(argv[3]), atof(argv[4]));
    else if (argc == 5 && !strcmp(argv[1], "stall"))
        stall(atoi(argv[2]), atol(argv[3]), atoll(argv[4]));
    else
        die("%s: no such program, or wrong use: see the head of load.c", argc > 2 ? argv[2] : "load");
    return 0;
}
