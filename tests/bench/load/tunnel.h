/* A tunnel through a CONNECT proxy, by calls that block. */
#pragma once
#include "load.h"

static in_addr_t proxy_host = INADDR_LOOPBACK;

/* The port in PORT or ADDRESS:PORT. The address is that of the proxy from now on. */
static int proxy_at(const char *text)
{
    const char *colon = strchr(text, ':');
    char address[INET_ADDRSTRLEN] = "";
    if (!colon)
        return atoi(text);
    struct in_addr host;
    if (colon - text >= INET_ADDRSTRLEN || !inet_aton(strncpy(address, text, colon - text), &host))
        die("%s: no address", text);
    proxy_host = ntohl(host.s_addr);
    return atoi(colon + 1);
}

static struct sockaddr_in proxy_address(int port)
{
    struct sockaddr_in address = loopback(1, port);
    address.sin_addr.s_addr = htonl(proxy_host);
    return address;
}

/* A tunnel to a target on this machine; proxy port 0 leads straight there. */
static int tunnel(int proxy_port, int target_port, int receive_buffer)
{
    char head[HEAD_MAX + 1];
    int fd = connect_to(proxy_port ? proxy_address(proxy_port) : loopback(1, target_port), receive_buffer);
    if (proxy_port) {
        snprintf(head, sizeof head, "CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", target_port, target_port);
        send_all(fd, head);
        read_head(fd, head);
        check_status(head);
    }
    return fd;
}
