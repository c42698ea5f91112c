/* Preloaded into adbd, which binds every interface and asks nobody for a key: every bind becomes one to loopback. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

int bind(int socket, const struct sockaddr *address, socklen_t size) {
  static int (*real)(int, const struct sockaddr *, socklen_t);
  if (!real) real = (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "bind");
  if (address->sa_family == AF_INET) {
    struct sockaddr_in held = *(const struct sockaddr_in *)address;
    held.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return real(socket, (struct sockaddr *)&held, sizeof held);
  }
  if (address->sa_family == AF_INET6) { /* 127.0.0.1 as an IPv6 address, so that IPv4 clients reach it */
    struct sockaddr_in6 held = *(const struct sockaddr_in6 *)address;
    held.sin6_addr = (struct in6_addr){{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1}}};
    return real(socket, (struct sockaddr *)&held, sizeof held);
  }
  if (address->sa_family == AF_VSOCK) return errno = EPERM, -1;
  return real(socket, address, size);
}
