/* Fails one write or sync on files below a folder: what a test cannot make a disk do.
 *
 * FAULT_FOLDER  only files below this folder count
 * FAULT_KIND    "write", "sync" or "any"
 * FAULT_AT      number of the call that fails, from 0; none when unset
 * FAULT_ERRNO   what it fails with
 * FAULT_STAYS   when set, all later calls of the kind fail, too
 * FAULT_COUNT   file into which the number of calls is written at exit
 *
 * A failing write of more than one byte first writes half, as a full disk does.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long calls;

static int is_inside(int fd) {
    const char *folder = getenv("FAULT_FOLDER");
    char link[64], path[4096];
    if (!folder) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len < 0) return 0;
    path[len] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}

/* The error with which this call fails, or 0. */
static int fault(const char *kind, int fd) {
    const char *wanted = getenv("FAULT_KIND"), *at = getenv("FAULT_AT"), *error = getenv("FAULT_ERRNO");
    if (!wanted || (strcmp(wanted, "any") && strcmp(wanted, kind)) || !is_inside(fd)) return 0;
    long number = atomic_fetch_add(&calls, 1);
    if (!at || !error) return 0;
    long first = atol(at);
    if (number == first || (number > first && getenv("FAULT_STAYS"))) return atoi(error);
    return 0;
}

__attribute__((destructor)) static void report(void) {
    const char *path = getenv("FAULT_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%ld", atomic_load(&calls));
    fclose(file);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *bytes, size_t len) {
    int error = fault("write", fd);
    if (!error) return REAL(write)(fd, bytes, len);
    if (len > 1) (void)!REAL(write)(fd, bytes, len / 2);
    errno = error;
    return -1;
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at) {
    int error = fault("write", fd);
    if (!error) return REAL(pwrite64)(fd, bytes, len, at);
    if (len > 1) (void)!REAL(pwrite64)(fd, bytes, len / 2, at);
    errno = error;
    return -1;
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) {
    return pwrite64(fd, bytes, len, at);
}

int fsync(int fd) {
    int error = fault("sync", fd);
    if (!error) return REAL(fsync)(fd);
    errno = error;
    return -1;
}

int fdatasync(int fd) {
    int error = fault("sync", fd);
    if (!error) return REAL(fdatasync)(fd);
    errno = error;
    return -1;
}
