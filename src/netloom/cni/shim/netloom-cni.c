/* The CNI plugin binary: carries one call of a container runtime to the netloom agent of this node, and its answer back.
 *
 * In: CNI_* variables and the network configuration on standard input. Out: the agent's answer on standard output and its exit
 * code. The agent may have another view of the file system, so CNI_NETNS is opened here and travels as a descriptor. Where
 * the agent is away, VERSION is answered here, STATUS with CNI error 51 (no ADD is served, and what is there already is not
 * told of changes any more), and everything else with 11, "try again later".
 * The protocol is described in cni/server.py. Not here: anything that knows what the verbs mean.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/netloom/cni.sock"
#define MAX_ENVIRONMENT (64 * 1024)
#define MAX_CONFIG (1024 * 1024)
#define MAX_ANSWER (1024 * 1024)
#define SEND_TIMEOUT_S 10
#define ANSWER_TIMEOUT_S 110 /* kubelet gives a runtime two minutes for a sandbox */
#define TRY_AGAIN_LATER 11
#define LIMITED 51
#define IO_FAILURE 5

extern char **environ;

struct head {
    char magic[4];
    uint32_t environment_size, config_size, with_fd;
};

static char environment[MAX_ENVIRONMENT], config[MAX_CONFIG + 1], answer[MAX_ANSWER];

/* Print a CNI error and end. The texts are ours and paths; quotes and control characters of paths become '?'. */
static void fail(int code, const char *what, const char *path, int error)
{
    char name[256];
    size_t i;

    for (i = 0; path[i] != '\0' && i < sizeof(name) - 1; i++)
        name[i] = (path[i] < ' ' || path[i] == '"' || path[i] == '\\') ? '?' : path[i];
    name[i] = '\0';
    printf("{\n  \"cniVersion\": \"1.1.0\",\n  \"code\": %d,\n  \"msg\": \"netloom: %s %s: %s\",\n"
           "  \"details\": \"is it running? NETLOOM_CNI_SOCKET names its socket; try again\"\n}\n",
           code, what, name, error != 0 ? strerror(error) : "it went away");
    fflush(stdout);
    exit(1);
}

/* The number for an agent that is not there. */
static int away(void)
{
    const char *command = getenv("CNI_COMMAND");

    return command != NULL && strcmp(command, "STATUS") == 0 ? LIMITED : TRY_AGAIN_LATER;
}

static size_t read_config(void)
{
    size_t size = 0;
    ssize_t n;

    while (size <= MAX_CONFIG) {
        n = read(STDIN_FILENO, config + size, sizeof(config) - size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            fail(IO_FAILURE, "cannot read", "the network configuration", errno);
        if (n == 0)
            return size;
        size += (size_t)n;
    }
    fail(IO_FAILURE, "cannot read", "the network configuration", EFBIG);
    return 0;
}

static size_t gather_environment(void)
{
    size_t size = 0, length;
    char **variable;

    for (variable = environ; *variable != NULL; variable++) {
        if (strncmp(*variable, "CNI_", 4) != 0)
            continue;
        length = strlen(*variable) + 1;
        if (size + length > sizeof(environment))
            fail(IO_FAILURE, "cannot pass on", "the CNI_ variables", E2BIG);
        memcpy(environment + size, *variable, length);
        size += length;
    }
    return size;
}

static void answer_version(void)
{
    fputs("{\n  \"cniVersion\": \"1.1.0\",\n"
          "  \"supportedVersions\": [\"0.3.0\", \"0.3.1\", \"0.4.0\", \"1.0.0\", \"1.1.0\"]\n}\n", stdout);
    fflush(stdout);
    exit(0);
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval send_timeout = {.tv_sec = SEND_TIMEOUT_S}, answer_timeout = {.tv_sec = ANSWER_TIMEOUT_S};
    int fd;

    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &send_timeout, sizeof(send_timeout));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &answer_timeout, sizeof(answer_timeout));
    return connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? fd : -1;
}

static int send_all(int sock, const char *data, size_t size)
{
    ssize_t n;

    for (; size > 0; data += n, size -= (size_t)n) {
        n = send(sock, data, size, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n < 0)
            n = 0;
    }
    return 0;
}

static int send_head(int sock, struct head *head, int netns)
{
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {.iov_base = head, .iov_len = sizeof(*head)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    struct cmsghdr *rights;
    ssize_t n;

    if (netns >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof(control);
        rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(rights), &netns, sizeof(int));
    }
    do
        n = sendmsg(sock, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -1;
    return send_all(sock, (char *)head + n, sizeof(*head) - (size_t)n);
}

static size_t read_answer(int sock, const char *path)
{
    size_t size = 0;
    ssize_t n;

    while (size < sizeof(answer)) {
        n = recv(sock, answer + size, sizeof(answer) - size, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            fail(away(), "no answer from the node's agent at", path, errno == EAGAIN ? ETIMEDOUT : errno);
        if (n == 0)
            break;
        size += (size_t)n;
    }
    if (size < sizeof(uint32_t))
        fail(away(), "no answer from the node's agent at", path, 0);
    return size;
}

int main(void)
{
    const char *path = getenv("NETLOOM_CNI_SOCKET"), *command = getenv("CNI_COMMAND"), *netns = getenv("CNI_NETNS");
    struct head head = {.magic = {'N', 'L', 'C', '1'}};
    int sock, fd = -1;
    size_t size;
    uint32_t exit_code;

    if (path == NULL || *path == '\0')
        path = DEFAULT_SOCKET;
    sock = connect_to(path);
    if (sock < 0) {
        if (command != NULL && strcmp(command, "VERSION") == 0)
            answer_version();
        fail(away(), "cannot reach the node's agent at", path, errno);
    }
    head.environment_size = (uint32_t)gather_environment();
    head.config_size = (uint32_t)read_config();
    if (netns != NULL && *netns != '\0')
        fd = open(netns, O_RDONLY | O_CLOEXEC); /* a failure is the agent's to judge: DEL needs no namespace */
    head.with_fd = fd >= 0;
    if (send_head(sock, &head, fd) < 0 || send_all(sock, environment, head.environment_size) < 0 ||
        send_all(sock, config, head.config_size) < 0)
        fail(away(), "cannot send to the node's agent at", path, errno);
    size = read_answer(sock, path);
    memcpy(&exit_code, answer, sizeof(exit_code));
    if (fwrite(answer + sizeof(exit_code), 1, size - sizeof(exit_code), stdout) != size - sizeof(exit_code) ||
        fflush(stdout) != 0)
        return 1;
    return (int)(exit_code & 0xff);
}
