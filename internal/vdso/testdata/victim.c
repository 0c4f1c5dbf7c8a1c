/* A program that asks for the time in every way, in a number of threads without
 * end, and says on demand by how much the answers differ from those of system calls,
 * which nothing in the process can change. One command a line on standard input. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef long long ll;
static volatile ll calls, wrong;
static volatile ll handled;

static ll ns(struct timespec t) { return t.tv_sec * 1000000000LL + t.tv_nsec; }

static ll truth(int clock) {
	struct timespec t;
	syscall(SYS_clock_gettime, clock, &t);
	return ns(t);
}

/* What cannot be right, whatever the skew: a nanosecond that is none, and a
 * monotonic clock that goes back. */
static ll look(ll *last) {
	struct timespec t;
	struct timeval v;
	ll bad = 0;
	clock_gettime(CLOCK_REALTIME, &t);
	bad += t.tv_nsec < 0 || t.tv_nsec > 999999999;
	gettimeofday(&v, 0);
	bad += v.tv_usec < 0 || v.tv_usec > 999999;
	time(0);
	clock_gettime(CLOCK_MONOTONIC, &t);
	bad += ns(t) < *last;
	*last = ns(t);
	return bad;
}

static void *hammer(void *unused) {
	ll last = 0;
	for (;;) {
		ll bad = 0;
		for (int i = 0; i < 1000; i++) bad += look(&last);
		__sync_fetch_and_add(&calls, 4000);
		__sync_fetch_and_add(&wrong, bad);
	}
	return unused;
}

static void report(const char *who) {
	struct timespec t;
	struct timeval v;
	ll a, b;
	printf("{\"who\":\"%s\"", who);
	const struct { const char *name; int clock; } of[] = {{"realtime", 0}, {"coarse", 5}, {"tai", 11}, {"monotonic", 1}, {"boottime", 7}, {"cpu", 2}};
	for (unsigned i = 0; i < sizeof of / sizeof *of; i++) {
		a = truth(of[i].clock);
		clock_gettime(of[i].clock, &t);
		b = truth(of[i].clock);
		printf(",\"%s\":[%lld,%lld]", of[i].name, ns(t) - b, ns(t) - a);
	}
	a = truth(0);
	gettimeofday(&v, 0);
	b = truth(0);
	ll us = v.tv_sec * 1000000000LL + v.tv_usec * 1000LL;
	printf(",\"gettimeofday\":[%lld,%lld]", us - b, us + 1000 - a);
	a = truth(5);
	ll s = time(0) * 1000000000LL;
	b = truth(5);
	printf(",\"time\":[%lld,%lld]", s - b, s + 1000000000LL - a);
	printf(",\"calls\":%lld,\"wrong\":%lld,\"handled\":%lld}\n", calls, wrong, handled);
	fflush(stdout);
}

static void child(int again, char **argv) {
	pid_t p = fork();
	if (p == 0) {
		if (again) execl("/proc/self/exe", argv[0], "0", "once", (char *)0);
		report("fork");
		_exit(0);
	}
	waitpid(p, 0, 0);
}

static void count(int sig, siginfo_t *info, void *context) {
	(void)sig, (void)info, (void)context;
	ll last = 0;
	__sync_fetch_and_add(&handled, 1);
	__sync_fetch_and_add(&wrong, look(&last));
}

/* Queued signals are counted one by one: none may be lost, none may come twice. */
static void signals(long n) {
	pid_t me = getpid();
	pid_t p = fork();
	if (p == 0) {
		for (long i = 0; i < n; i++) {
			union sigval v = {0};
			while (sigqueue(me, SIGRTMIN, v) != 0) usleep(50);
			if (i % 3 == 0) usleep(20);
		}
		_exit(0);
	}
	ll last = 0;
	while (waitpid(p, 0, WNOHANG) != p)
		for (int i = 0; i < 200; i++) __sync_fetch_and_add(&wrong, look(&last));
	for (int i = 0; i < 100000 && handled < n; i++) __sync_fetch_and_add(&wrong, look(&last));
}

static struct timespec later(void) {
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += 3600;
	return t;
}

static void *sleeper(void *unused) {
	struct timespec t = later();
	clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, 0);
	return unused;
}

static void *waiter(void *unused) {
	static sem_t s;
	struct timespec t = later();
	sem_init(&s, 0, 0);
	sem_timedwait(&s, &t);
	return unused;
}

static void waits(void) {
	pthread_t th;
	struct itimerspec i = {{0, 0}, later()};
	pthread_create(&th, 0, sleeper, 0);
	pthread_create(&th, 0, waiter, 0);
	timerfd_settime(timerfd_create(CLOCK_REALTIME, 0), TFD_TIMER_ABSTIME, &i, 0);
}

/* ns per call: the best of several rounds. */
static void bench(void) {
	const long n = 200000;
	struct timespec t;
	struct timeval v;
	double best[4];
	for (int what = 0; what < 4; what++) {
		best[what] = 1e18;
		for (int round = 0; round < 7; round++) {
			ll a = truth(1);
			for (long i = 0; i < n; i++) switch (what) {
				case 0: clock_gettime(CLOCK_REALTIME, &t); break;
				case 1: clock_gettime(CLOCK_MONOTONIC, &t); break;
				case 2: gettimeofday(&v, 0); break;
				case 3: time(0); break;
			}
			double d = (double)(truth(1) - a) / n;
			if (d < best[what]) best[what] = d;
		}
	}
	printf("{\"realtime\":%.1f,\"monotonic\":%.1f,\"gettimeofday\":%.1f,\"time\":%.1f}\n", best[0], best[1], best[2], best[3]);
	fflush(stdout);
}

int main(int argc, char **argv) {
	pthread_t th;
	char line[64];
	struct sigaction a = {0};
	a.sa_sigaction = count;
	a.sa_flags = SA_SIGINFO | SA_RESTART;
	sigaction(SIGRTMIN, &a, 0);
	if (argc > 2) {
		report("exec");
		return 0;
	}
	for (int i = 0; i < atoi(argv[1]); i++) pthread_create(&th, 0, hammer, 0);
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		if (!strncmp(line, "fork", 4)) child(0, argv);
		else if (!strncmp(line, "exec", 4)) child(1, argv);
		else if (!strncmp(line, "waits", 5)) { waits(); puts("ok"); fflush(stdout); }
		else if (!strncmp(line, "bench", 5)) bench();
		else if (!strncmp(line, "signals", 7)) { signals(atol(line + 8)); report("signals"); }
		else report("self");
	}
	return 0;
}
