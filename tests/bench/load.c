/*
 * Load for the data path, with as little of its own cost as can be: one thread, blocking sockets, no allocation.
 *
 *   load serve NETNS accept|echo|sink|udp PORT [CPU]
 *   load drive connect|first|pingpong|stream|udp SLICE_MS ROUNDS CPU NETNS ADDRESS PORT [NETNS ADDRESS PORT ...]
 *
 * `drive` asks its targets in turns of SLICE_MS, in another order each round, so that a drift of the machine meets all alike.
 * It prints a line a turn: target, what was done (connections, round trips, bytes), nanoseconds. Of `first`, which connects like
 * `connect`, it tells one thing done and the median of the nanoseconds from the SYN to the SYN-ACK. CPU -1: not pinned.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (128 * 1024)
#define MOST_TIMED 65536

static char buffer[CHUNK];

static void check(int failed, const char *what)
{
    if (!failed)
        return;
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pin(int cpu)
{
    cpu_set_t set;
    if (cpu < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    check(sched_setaffinity(0, sizeof(set), &set), "sched_setaffinity");
}

static void go_to(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    check(fd < 0, path);
    check(setns(fd, CLONE_NEWNET), "setns");
    close(fd);
}

static struct sockaddr_in target(const char *host, const char *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    check(inet_pton(AF_INET, host, &a.sin_addr) != 1, host);
    return a;
}

static void serve(const char *mode, const char *port, int cpu)
{
    int one = 1, udp = strcmp(mode, "udp") == 0;
    struct sockaddr_in me = target("0.0.0.0", port), peer;
    int sock = socket(AF_INET, udp ? SOCK_DGRAM : SOCK_STREAM, 0);
    check(sock < 0, "socket");
    setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    check(bind(sock, (struct sockaddr *)&me, sizeof(me)), "bind");
    check(!udp && listen(sock, 4096), "listen");
    pin(cpu);
    puts("serving");
    fflush(stdout);
    for (;;) {
        if (udp) {
            socklen_t size = sizeof(peer);
            ssize_t n = recvfrom(sock, buffer, sizeof(buffer), 0, (struct sockaddr *)&peer, &size);
            if (n >= 0)
                sendto(sock, buffer, (size_t)n, 0, (struct sockaddr *)&peer, size);
            continue;
        }
        int fd = accept(sock, NULL, NULL);
        if (fd < 0)
            continue;
        if (strcmp(mode, "accept") != 0) {
            uint64_t total = 0;
            ssize_t n;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
            while ((n = read(fd, buffer, sizeof(buffer))) > 0) {
                total += (uint64_t)n;
                if (mode[0] == 'e' && write(fd, buffer, (size_t)n) != n)
                    break;
            }
            if (mode[0] == 's')
                check(write(fd, &total, sizeof(total)) != sizeof(total), "write");
        }
        close(fd);
    }
}

static int dial(const struct sockaddr_in *to, int type)
{
    int one = 1, fd = socket(AF_INET, type, 0);
    check(fd < 0, "socket");
    if (type == SOCK_STREAM)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    check(connect(fd, (const struct sockaddr *)to, sizeof(*to)), "connect");
    return fd;
}

static void hang_up(int fd)
{
    /* closed by a reset: no TIME_WAIT, so ports do not run out */
    struct linger reset = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(fd);
}

static uint64_t connects(const struct sockaddr_in *to, uint64_t until)
{
    uint64_t done = 0;
    do {
        hang_up(dial(to, SOCK_STREAM));
        done++;
    } while (now() < until);
    return done;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t first_packets(const struct sockaddr_in *to, uint64_t until)
{
    static uint64_t took[MOST_TIMED];
    uint64_t end;
    size_t count = 0;
    do {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        check(fd < 0, "socket");
        uint64_t begin = now();
        check(connect(fd, (const struct sockaddr *)to, sizeof(*to)), "connect");
        end = now();
        took[count++] = end - begin;
        hang_up(fd);
    } while (end < until && count < MOST_TIMED);
    qsort(took, count, sizeof(took[0]), by_size);
    return took[count / 2];
}

static uint64_t pingpong(int fd, uint64_t until)
{
    uint64_t done = 0;
    do {
        check(write(fd, buffer, 64) != 64, "write");
        check(read(fd, buffer, 64) != 64, "read");
        done++;
    } while (now() < until);
    return done;
}

static uint64_t stream(int fd, uint64_t until)
{
    uint64_t total = 0;
    do
        check(write(fd, buffer, sizeof(buffer)) <= 0, "write");
    while (now() < until);
    shutdown(fd, SHUT_WR);
    check(read(fd, &total, sizeof(total)) != sizeof(total), "read");
    return total;
}

static void drive(const char *mode, int slice_ms, int rounds, int cpu, int count, char **words)
{
    uint64_t length = (uint64_t)slice_ms * 1000000u;
    pin(cpu);
    for (int round = -1; round < rounds; round++) {
        for (int i = 0; i < count; i++) {
            int which = (i + round + 1) % count, fd = -1;
            struct sockaddr_in to = target(words[3 * which + 1], words[3 * which + 2]);
            go_to(words[3 * which]);
            if (mode[0] != 'c' && mode[0] != 'f')
                fd = dial(&to, mode[0] == 'u' ? SOCK_DGRAM : SOCK_STREAM);
            uint64_t begin = now(), done, took = 0;
            if (mode[0] == 'c')
                done = connects(&to, begin + length);
            else if (mode[0] == 'f')
                done = 1, took = first_packets(&to, begin + length);
            else if (mode[0] == 's')
                done = stream(fd, begin + length);
            else
                done = pingpong(fd, begin + length);
            if (!took)
                took = now() - begin;
            if (fd >= 0)
                close(fd);
            if (round >= 0) /* the first round warms up */
                printf("%d %llu %llu\n", which, (unsigned long long)done, (unsigned long long)took);
        }
    }
}

int main(int argc, char **argv)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    if (argc >= 5 && strcmp(argv[1], "serve") == 0) {
        go_to(argv[2]);
        serve(argv[3], argv[4], argc > 5 ? atoi(argv[5]) : -1);
    } else if (argc >= 9 && strcmp(argv[1], "drive") == 0) {
        drive(argv[2], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), (argc - 6) / 3, argv + 6);
        return 0;
    }
    fputs("usage: see load.c\n", stderr);
    return 2;
}
