/* A submission server that verifies nothing but the login and stores nothing.

   sink CERTIFICATE KEY LOGIN HOST

   It listens on seven ports of HOST: for each set of extensions (none; PIPELINING; both
   PIPELINING and CHUNKING) one with STARTTLS and one with implicit TLS, and one without
   TLS or login, for a server that relays. It writes the seven ports in this order as a
   line, then replies to each line on its standard input with the numbers of messages,
   recipients and octets that it accepted so far, and ends with the input. LOGIN is the
   initial response of AUTH PLAIN. Each connection has a thread. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { NONE, PIPELINING, CHUNKING };
enum { STARTTLS, IMPLICIT, PLAINTEXT };
enum { READ = 262144, REPLIES = 65536 };

typedef struct {
    int listener, extensions, security;
} Port;

typedef struct {
    int fd, extensions, security;
    SSL *tls;
    int known;                 /* whether the client has logged in */
    long recipients;           /* of the present transaction */
    char *data;                /* what was received, from `start` to `end` */
    size_t start, end, replied;
    char replies[REPLIES];     /* written before the next read (RFC 2920 section 3.2) */
} Connection;

static SSL_CTX *context;
static const char *login;
static atomic_long messages, recipients, octets;

static int write_all(Connection *c, const char *data, size_t size) {
    while (size) {
        ssize_t n = c->tls ? SSL_write(c->tls, data, (int)size) : send(c->fd, data, size, 0);
        if (n <= 0) return 0;
        data += n, size -= (size_t)n;
    }
    return 1;
}

static int flush(Connection *c) {
    size_t size = c->replied;
    c->replied = 0;
    return !size || write_all(c, c->replies, size);
}

static int reply(Connection *c, const char *text) {
    size_t size = strlen(text);
    if (c->replied + size > REPLIES && !flush(c)) return 0;
    memcpy(c->replies + c->replied, text, size);
    c->replied += size;
    return 1;
}

/* Receive more; what was used is dropped first. */
static int fill(Connection *c) {
    if (!flush(c)) return 0;
    memmove(c->data, c->data + c->start, c->end - c->start);
    c->end -= c->start, c->start = 0;
    size_t room = READ - c->end;
    if (!room) return 0; /* a line that is too long */
    ssize_t n = c->tls ? SSL_read(c->tls, c->data + c->end, (int)room)
                       : recv(c->fd, c->data + c->end, room, 0);
    if (n <= 0) return 0;
    c->end += (size_t)n;
    return 1;
}

/* The next line, ended with a NUL in place of its CRLF; NULL at the end. */
static char *line_of(Connection *c) {
    size_t searched = 0;
    for (;;) {
        char *from = c->data + c->start;
        char *lf = memchr(from + searched, '\n', c->end - c->start - searched);
        if (lf) {
            c->start = (size_t)(lf + 1 - c->data);
            *(lf > from && lf[-1] == '\r' ? lf - 1 : lf) = 0;
            return from;
        }
        searched = c->end - c->start;
        if (!fill(c)) return NULL;
    }
}

static int accepted(Connection *c, long size) {
    if (!c->recipients) return reply(c, "503 no recipients\r\n");
    messages += 1;
    recipients += c->recipients;
    octets += size;
    c->recipients = 0;
    return reply(c, "250 accepted\r\n");
}

static int bdat(Connection *c, const char *line) {
    long size = strtol(line + 4, NULL, 10), left = size;
    while (left > (long)(c->end - c->start)) {
        left -= (long)(c->end - c->start);
        c->start = c->end;
        if (!fill(c)) return 0;
    }
    c->start += (size_t)left;
    return accepted(c, size);
}

static int content(Connection *c) {
    if (!c->recipients) return reply(c, "503 no recipients\r\n");
    if (!reply(c, "354 go on\r\n")) return 0;
    long size = 0;
    for (;;) {
        size_t held = c->end - c->start;
        char *from = c->data + c->start, *found = memmem(from, held, "\r\n.\r\n", 5);
        if (found) {
            c->start = (size_t)(found + 5 - c->data);
            return accepted(c, size + (found - from) + 2);
        }
        if (held > 4) size += (long)held - 4, c->start = c->end - 4;
        if (!fill(c)) return 0;
    }
}

static int handshake(Connection *c) {
    c->tls = SSL_new(context);
    SSL_set_fd(c->tls, c->fd);
    return SSL_accept(c->tls) == 1;
}

static int ehlo(Connection *c) {
    reply(c, "250-sink\r\n");
    if (c->extensions >= PIPELINING) reply(c, "250-PIPELINING\r\n");
    if (c->extensions >= CHUNKING) reply(c, "250-CHUNKING\r\n");
    if (c->security == PLAINTEXT) return reply(c, "250-8BITMIME\r\n250 SIZE 0\r\n");
    return reply(c, c->tls ? "250 AUTH PLAIN\r\n" : "250 STARTTLS\r\n");
}

static int command(Connection *c) {
    char *line = line_of(c);
    if (!line) return 0;
    if (!strncasecmp(line, "RCPT", 4)) return c->recipients++, reply(c, "250 ok\r\n");
    if (!strncasecmp(line, "MAIL", 4)) {
        c->recipients = 0;
        return reply(c, c->known ? "250 ok\r\n" : "530 log in first\r\n");
    }
    if (!strncasecmp(line, "BDAT", 4)) return bdat(c, line);
    if (!strncasecmp(line, "DATA", 4)) return content(c);
    if (!strncasecmp(line, "EHLO", 4) || !strncasecmp(line, "HELO", 4)) return ehlo(c);
    if (!strncasecmp(line, "STARTTLS", 8)) {
        reply(c, "220 go on\r\n");
        return flush(c) && handshake(c);
    }
    if (!strncasecmp(line, "AUTH PLAIN ", 11)) {
        c->known = c->tls && !strcmp(line + 11, login);
        return reply(c, c->known ? "235 welcome\r\n" : "535 refused\r\n");
    }
    if (!strncasecmp(line, "QUIT", 4)) return reply(c, "221 bye\r\n"), flush(c), 0;
    if (!strncasecmp(line, "RSET", 4)) c->recipients = 0;
    else if (strncasecmp(line, "NOOP", 4)) return reply(c, "500 unknown\r\n");
    return reply(c, "250 ok\r\n");
}

static void *serve(void *argument) {
    Connection *c = argument;
    c->data = malloc(READ);
    c->known = c->security == PLAINTEXT;
    if (c->data && (c->security != IMPLICIT || handshake(c)) &&
        write_all(c, "220 sink ESMTP\r\n", 16))
        while (command(c)) {}
    if (c->tls) SSL_free(c->tls);
    ERR_clear_error();
    close(c->fd);
    free(c->data);
    free(c);
    return NULL;
}

static void start(void *(*run)(void *), void *argument) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, argument)) abort();
    pthread_detach(thread);
}

static void *accept_all(void *argument) {
    Port *port = argument;
    for (;;) {
        int fd = accept(port->listener, NULL, NULL), one = 1;
        if (fd < 0) continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Connection *c = calloc(1, sizeof *c);
        if (!c) abort();
        c->fd = fd, c->extensions = port->extensions, c->security = port->security;
        start(serve, c);
    }
    return NULL;
}

static void listen_at(const char *host, int extensions, int security) {
    Port *port = calloc(1, sizeof *port);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (!port || inet_pton(AF_INET, host, &address.sin_addr) != 1 ||
        bind(fd, (struct sockaddr *)&address, size) || listen(fd, 128) ||
        getsockname(fd, (struct sockaddr *)&address, &size))
        abort();
    printf("%d ", ntohs(address.sin_port));
    *port = (Port){fd, extensions, security};
    start(accept_all, port);
}

int main(int count, char **arguments) {
    char *line = NULL;
    size_t size = 0;
    if (count != 5) return 2;
    signal(SIGPIPE, SIG_IGN);
    login = arguments[3];
    context = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(context, arguments[1]) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, arguments[2], SSL_FILETYPE_PEM) != 1)
        return 3;
    for (int extensions = NONE; extensions <= CHUNKING; extensions++)
        for (int security = STARTTLS; security <= IMPLICIT; security++)
            listen_at(arguments[4], extensions, security);
    listen_at(arguments[4], PIPELINING, PLAINTEXT);
    printf("\n");
    fflush(stdout);
    while (getline(&line, &size, stdin) >= 0) {
        printf("%ld %ld %ld\n", (long)messages, (long)recipients, (long)octets);
        fflush(stdout);
    }
    return 0;
}
