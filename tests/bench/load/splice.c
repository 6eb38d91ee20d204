/* The limit of what a program in user space can do between two descriptors: nothing but splice(2), in one thread. It has no policy,
 * no deadlines, no log, and trusts both ends. Loopback only.
 *
 *   splice connect PORT TARGET     a tunnel to TARGET through the proxy on PORT, between stdin and stdout, which are pipes
 *   splice serve PORT              a proxy; lives until killed
 *   splice forward PORT PROXY_PORT TARGET   leads each connection to PORT to TARGET through the proxy; lives until killed
 */
#include "load.h"

enum { PIPE = 1 << 20, EVENTS = 256 };

/* A tunnel to TARGET through the proxy on PORT. */
static int tunnel_to(int port, const char *target)
{
    char head[HEAD_MAX + 1];
    int fd = connect_to(loopback(1, port), 0);
    snprintf(head, sizeof head, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target);
    send_all(fd, head);
    read_head(fd, head);
    check_status(head);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* ---- connect: poll and one splice for each piece, since one of the two descriptors is a pipe ---- */

struct direction {
    int from, to;
    int awaited; /* one of the two */
};

/* Once the awaited descriptor is ready, EAGAIN is that of the other one. False at the end. */
static bool move(struct direction *d)
{
    ssize_t n = splice(d->from, NULL, d->to, NULL, PIPE, SPLICE_F_NONBLOCK);
    if (n < 0 && errno == EAGAIN)
        d->awaited = d->awaited == d->from ? d->to : d->from;
    else
        d->awaited = d->from;
    return n > 0 || (n < 0 && errno == EAGAIN);
}

static void bridge(int fd)
{
    struct direction up = {0, fd, 0}, down = {fd, 1, fd};
    fcntl(0, F_SETPIPE_SZ, PIPE);
    fcntl(1, F_SETPIPE_SZ, PIPE);
    for (;;) {
        struct pollfd ready[2] = {
            {down.awaited, down.awaited == fd ? POLLIN : POLLOUT, 0},
            {up.awaited, up.awaited == fd ? POLLOUT : POLLIN, 0},
        };
        if (poll(ready, 2, -1) < 0)
            die("poll: %s", strerror(errno));
        if (ready[0].revents && !move(&down))
            return;
        if (ready[1].revents && !move(&up)) {
            shutdown(fd, SHUT_WR);
            up.awaited = -1; /* poll ignores it */
        }
    }
}

/* ---- serve and forward: level-triggered epoll; two splices a piece, through a pipe that is given back once it is empty ---- */

static struct end {
    int peer;         /* -1 before there is a tunnel */
    int pipe[2];      /* for the bytes that come from here, while there are any */
    size_t held;      /* in that pipe */
    bool open, ended; /* whether it is in use; whether its EOF has come */
    uint32_t watched;
} *ends; /* by descriptor */

static int epoll;
static int (*spare)[2], spares; /* empty pipes */
static int *dead, deaths;       /* to be closed after the batch of events, in which their numbers may be still */

static void watch(int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (ends[fd].watched != events && epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event))
        die("epoll: %s", strerror(errno));
    ends[fd].watched = events;
}

static void add(int fd, int peer)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    ends[fd] = (struct end){.peer = peer, .open = true, .watched = EPOLLIN};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
        die("epoll: %s", strerror(errno));
}

static void take_pipe(struct end *end)
{
    if (spares) {
        memcpy(end->pipe, spare[--spares], sizeof end->pipe);
        return;
    }
    if (pipe2(end->pipe, O_NONBLOCK | O_CLOEXEC))
        die("pipe: %s", strerror(errno));
    fcntl(end->pipe[1], F_SETPIPE_SZ, PIPE);
}

static void drop(int fd)
{
    if (!ends[fd].open)
        return;
    ends[fd].open = false;
    dead[deaths++] = fd;
    if (ends[fd].held) {
        close(ends[fd].pipe[0]);
        close(ends[fd].pipe[1]);
    }
}

static void drop_both(int fd)
{
    int peer = ends[fd].peer;
    drop(fd);
    if (peer >= 0)
        drop(peer);
}

/* What both of them are waited for: bytes, if the pipe has none to go first; room, if the peer's pipe has some. */
static void watch_both(int fd)
{
    for (int i = 0; i < 2; i++, fd = ends[fd].peer) {
        const struct end *end = &ends[fd];
        watch(fd, (end->held || end->ended ? 0 : EPOLLIN) | (ends[end->peer].held ? EPOLLOUT : 0));
    }
}

/* Passes on what the pipe holds. False if the tunnel has failed. */
static bool empty(struct end *end)
{
    ssize_t n = splice(end->pipe[0], NULL, end->peer, NULL, end->held, SPLICE_F_NONBLOCK);
    if (n < 0 && errno != EAGAIN)
        return false;
    end->held -= n > 0 ? n : 0;
    if (!end->held)
        memcpy(spare[spares++], end->pipe, sizeof end->pipe);
    return true;
}

static void on_bytes(int fd)
{
    struct end *end = &ends[fd];
    take_pipe(end);
    ssize_t n = splice(fd, NULL, end->pipe[1], NULL, PIPE, SPLICE_F_NONBLOCK);
    if (n <= 0)
        memcpy(spare[spares++], end->pipe, sizeof end->pipe);
    else
        end->held = n;
    end->ended = !n;
    if (!n)
        shutdown(end->peer, SHUT_WR);
    if ((n < 0 && errno != EAGAIN) || (n > 0 && !empty(end)) || (end->ended && ends[end->peer].ended))
        drop_both(fd);
    else
        watch_both(fd);
}

/* A head that comes in one piece, with nothing behind it. On loopback, connect() has succeeded or failed when it returns. */
static void on_head(int fd)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\n\r\n";
    char head[HEAD_MAX + 1];
    int host, port;
    ssize_t n = recv(fd, head, HEAD_MAX, 0);
    head[n > 0 ? n : 0] = 0;
    if (sscanf(head, "CONNECT 127.0.0.%d:%d ", &host, &port) != 2) {
        drop(fd);
        return;
    }
    struct sockaddr_in address = loopback(host, port);
    int far = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (far < 0 || (connect(far, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS))
        die("connect: %s", strerror(errno));
    no_delay(far);
    no_delay(fd);
    add(far, fd);
    ends[fd].peer = far;
    if (send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL) < 0)
        drop_both(fd);
}

static void on_event(int fd, uint32_t events)
{
    struct end *end = &ends[fd];
    if (!end->open)
        return;
    if (end->peer < 0)
        on_head(fd);
    else if (events & EPOLLERR || (events & EPOLLHUP && end->ended))
        drop_both(fd);
    else if (events & EPOLLOUT && ends[end->peer].held) {
        if (empty(&ends[end->peer]))
            watch_both(fd);
        else
            drop_both(fd);
    } else if (events & (EPOLLIN | EPOLLHUP) && !end->held)
        on_bytes(fd);
}

static int proxy_port; /* of forward; 0 in serve, which is a proxy itself */
static const char *goal;

static void on_client(int fd)
{
    int far = proxy_port ? tunnel_to(proxy_port, goal) : -1;
    add(fd, far);
    if (far >= 0) {
        no_delay(fd);
        add(far, fd);
    }
}

static void accept_all(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        on_client(fd);
    if (errno != EAGAIN && errno != ECONNABORTED)
        die("accept: %s", strerror(errno));
}

static void serve(int port)
{
    struct epoll_event events[EVENTS];
    long most = raise_descriptor_limit();
    int listener = try_listen(1, port, SOCK_NONBLOCK);
    if (listener < 0)
        die("listen: %s", strerror(errno));
    ends = calloc(most, sizeof *ends);
    spare = calloc(most, sizeof *spare);
    dead = calloc(most, sizeof *dead);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    add(listener, -1);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        bool more = false;
        for (int i = 0; i < n; i++)
            if (events[i].data.fd == listener)
                more = true;
            else
                on_event(events[i].data.fd, events[i].events);
        while (deaths)
            close(dead[--deaths]);
        if (more)
            accept_all(listener);
    }
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc == 4 && !strcmp(argv[1], "connect"))
        bridge(tunnel_to(atoi(argv[2]), argv[3]));
    else if (argc == 3 && !strcmp(argv[1], "serve"))
        serve(atoi(argv[2]));
    else if (argc == 5 && !strcmp(argv[1], "forward")) {
        proxy_port = atoi(argv[3]);
        goal = argv[4];
        serve(atoi(argv[2]));
    } else
        die("wrong use: see the head of splice.c");
    return 0;
}
