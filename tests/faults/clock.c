/* A process whose wall clock is CLOCK_SHIFT_S seconds off: preload this (LD_PRELOAD).
 *
 * What reads the wall clock gets it shifted; a deadline on that clock, made from such a reading, is shifted back before the
 * kernel sees it. The monotonic clock stays as it is. So it is as if the machine's clock were wrong. libfaketime 0.9.10 does
 * the same, but not for cnd_timedwait, by which librdkafka waits: with the clock ahead, its waits last as long as that.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>

/* The monotonic clock begins when the machine does, so a deadline later than this (2001) is one on the wall clock. */
#define EPOCH_S 1000000000

static long shift(void) {
    static long seconds;
    static int known;
    if (!known) {
        const char *said = getenv("CLOCK_SHIFT_S");
        seconds = said ? atol(said) : 0;
        known = 1;
    }
    return seconds;
}

/* glibc kept an old pthread_cond_timedwait for programs from before 2003, and dlsym may find that one. */
static void *libc(const char *name) {
    void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
    return found ? found : dlsym(RTLD_NEXT, name);
}

static const struct timespec *true_deadline(const struct timespec *told, struct timespec *room) {
    if (!told || told->tv_sec < EPOCH_S)
        return told;
    *room = *told;
    room->tv_sec -= shift();
    return room;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = libc("clock_gettime");
    int failed = real(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += shift();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec read;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &read);
    now->tv_sec = read.tv_sec;
    now->tv_usec = read.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec read;
    clock_gettime(CLOCK_REALTIME, &read);
    if (now)
        *now = read.tv_sec;
    return read.tv_sec;
}

int timespec_get(struct timespec *now, int base) {
    return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, now) ? base : 0;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict deadline) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    struct timespec room;
    if (!real)
        real = libc("pthread_cond_timedwait");
    return real(condition, mutex, true_deadline(deadline, &room));
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict deadline) {
    static int (*real)(cnd_t *, mtx_t *, const struct timespec *);
    struct timespec room;
    if (!real)
        real = libc("cnd_timedwait");
    return real(condition, mutex, true_deadline(deadline, &room));
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict deadline) {
    static int (*real)(sem_t *, const struct timespec *);
    struct timespec room;
    if (!real)
        real = libc("sem_timedwait");
    return real(semaphore, true_deadline(deadline, &room));
}
