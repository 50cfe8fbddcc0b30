/*
 * Crew: see crew.h. The start barrier is a futex in memory that all share: processes sleep on it,
 * so that those who have prepared take no time from those who still do.
 * Ordering:
 *   [C1] crew_go() -> worker_run(): what the parent prepared, then go (a futex call on both sides)
 * waitpid() orders a worker's results before the parent's reading of them.
 */
#include "bench/crew.h"

#include "bench/clock.h"
#include "bench/interrupt.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_LOOK_MS 50   /* between two looks whether a process has died while preparing */
#define FINISH_LIMIT_S 180 /* from the stop until all must have ended */
#define STATUS_FAILED 1

struct member {
    pid_t pid; /* 0: has ended */
};

/* ---- In the processes ------------------------------------------------------------------------ */

struct thread_job {
    const struct role *role;
    struct worker worker;
    bool first; /* of its process */
    bool count_calls;
    int result;
};

int worker_fail(const struct worker *worker, int error, const char *what)
{
    fprintf(stderr, "worker %u: %s: %s\n", worker->number, what, tusk_strerror(error));
    return error;
}

static void futex_wake_all(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *timeout)
{
    syscall(SYS_futex, word, FUTEX_WAIT, value, timeout, NULL, 0);
}

void worker_sleep(const struct worker *worker)
{
    while (!worker_stopped(worker)) {
        futex_wait(&worker->shared->stop, 0, NULL);
    }
}

void worker_stop_all(const struct worker *worker)
{
    atomic_store(&worker->shared->stop, 1);
    futex_wake_all(&worker->shared->stop);
}

/* Whether its share of a role that counts whole processes is told by another thread. */
static bool told_by_first(const struct thread_job *job)
{
    return job->role->whole && !job->first;
}

static uint64_t job_cpu_ns(const struct thread_job *job)
{
    return told_by_first(job) ? 0
           : job->role->whole ? clock_process_cpu_ns(getpid())
                              : clock_thread_cpu_ns();
}

static void job_calls_open(const struct thread_job *job, struct calls *calls)
{
    *calls = (struct calls){0};
    if (!job->count_calls || told_by_first(job)) {
        return;
    }
    const int result =
        job->role->whole ? calls_open_process(calls, getpid()) : calls_open_self(calls);
    if (result < 0) {
        fprintf(stderr, "counting system calls: %s\n", strerror(-result));
        _exit(STATUS_FAILED);
    }
}

static void worker_run(struct thread_job *job)
{
    struct worker *worker = &job->worker;
    struct crew_shared *shared = worker->shared;

    job->result = job->role->prepare ? job->role->prepare(worker) : 0;
    if (job->result < 0) {
        _exit(STATUS_FAILED);
    }
    struct calls calls;
    job_calls_open(job, &calls);
    atomic_fetch_add(&shared->ready, 1);
    futex_wake_all(&shared->ready);
    while (atomic_load(&shared->go) == 0) { /* [C1] acquire */
        futex_wait(&shared->go, 0, NULL);
    }
    worker->result->process = getpid();
    const struct calls_count calls_before = calls_read(&calls);
    const uint64_t cpu_before_ns = job_cpu_ns(job);
    worker->result->begin_ns = clock_now_ns();
    job->result = job->role->work(worker);
    if (worker->result->end_ns == 0) {
        worker->result->end_ns = clock_now_ns();
    }
    worker->result->cpu_ns = job_cpu_ns(job) - cpu_before_ns;
    worker->result->calls = calls_since(&calls, &calls_before);
    calls_close(&calls);
    if (job->role->produces) {
        atomic_fetch_add(&shared->produced, worker->result->entries);
        atomic_fetch_sub(&shared->producing, 1);
    }
    if (job->role->finish) {
        job->role->finish(worker);
    }
}

static void *worker_thread(void *arg)
{
    worker_run(arg);
    return NULL;
}

static int process_connect(const struct crew *crew, const struct role *role, struct tusk **tusk)
{
    struct tusk_options options = role->options;

    *tusk = NULL;
    if (role->offline) {
        return 0;
    }
    options.size = sizeof options;
    options.socket_path = crew->socket;
    options.idle = crew->idle;
    const int result = tusk_connect(tusk, &options);
    if (result < 0) {
        fprintf(stderr, "tusk_connect: %s\n", tusk_strerror(result));
    }
    return result;
}

static _Noreturn void process_run(const struct crew *crew, const struct role *role,
                                  unsigned process, struct worker_result *results)
{
    struct thread_job *jobs = calloc(role->threads, sizeof *jobs);
    pthread_t *threads = calloc(role->threads, sizeof *threads);
    struct tusk *tusk = NULL;
    int status = jobs && threads && process_connect(crew, role, &tusk) == 0 ? 0 : STATUS_FAILED;

    for (unsigned i = 0; i < role->threads && status == 0; i++) {
        const unsigned number = process * role->threads + i;
        jobs[i] = (struct thread_job){.role = role,
                                      .worker = {.number = number,
                                                 .tusk = tusk,
                                                 .shared = crew->shared,
                                                 .result = &results[number],
                                                 .arg = role->arg},
                                      .first = i == 0,
                                      .count_calls = crew->count_calls};
        if (i > 0 && pthread_create(&threads[i], NULL, worker_thread, &jobs[i]) != 0) {
            status = STATUS_FAILED;
        }
    }
    if (status != 0) {
        _exit(status);
    }
    worker_run(&jobs[0]);
    for (unsigned i = 0; i < role->threads; i++) {
        if (i > 0) {
            pthread_join(threads[i], NULL);
        }
        status = jobs[i].result < 0 ? STATUS_FAILED : status;
    }
    tusk_disconnect(tusk);
    exit(status); /* libraries take their leave of servers in handlers of exit() */
}

/* ---- In the benchmark ------------------------------------------------------------------------ */

static void signals_set(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGCHLD);
    interrupt_signals(set);
}

static unsigned members_count(const struct crew *crew)
{
    unsigned count = 0;

    for (size_t i = 0; i < crew->roles_count; i++) {
        count += crew->roles[i].processes;
    }
    return count;
}

static int shared_map(struct crew *crew)
{
    unsigned producing = 0;

    crew->workers_count = 0;
    for (size_t i = 0; i < crew->roles_count; i++) {
        const unsigned workers = crew->roles[i].processes * crew->roles[i].threads;
        crew->workers_count += workers;
        producing += crew->roles[i].produces ? workers : 0;
    }
    crew->shared_bytes =
        sizeof *crew->shared + crew->workers_count * sizeof crew->shared->results[0];
    void *memory =
        mmap(NULL, crew->shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mapping shared memory");
        return -errno;
    }
    crew->shared = memory;
    atomic_store(&crew->shared->producing, producing);
    return 0;
}

static int members_fork(const struct crew *crew, struct member *members)
{
    struct worker_result *results = crew->shared->results;
    const pid_t parent = getpid();
    sigset_t ends;

    sigemptyset(&ends);
    interrupt_signals(&ends); /* a terminal sends them to all; the parent ends its processes */
    fflush(NULL);
    for (size_t i = 0; i < crew->roles_count; i++) {
        const struct role *role = &crew->roles[i];
        for (unsigned process = 0; process < role->processes; process++) {
            const pid_t pid = fork();
            if (pid == 0) {
                sigprocmask(SIG_SETMASK, &ends, NULL);
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != parent) {
                    _exit(STATUS_FAILED);
                }
                process_run(crew, role, process, results);
            }
            if (pid < 0) {
                perror("making a process");
                return -errno;
            }
            (members++)->pid = pid;
        }
        results += role->processes * role->threads;
    }
    return 0;
}

/* Note who has ended: how many are left, or -ECHILD if one has failed. */
static int members_reap(struct member *members, unsigned count)
{
    int left = 0;

    for (unsigned i = 0; i < count; i++) {
        int status = 0;
        if (members[i].pid != 0 && waitpid(members[i].pid, &status, WNOHANG) == members[i].pid) {
            members[i].pid = 0;
            if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                fprintf(stderr, "a process of the benchmark failed%s\n",
                        WIFSIGNALED(status) ? " by a signal" : "");
                return -ECHILD;
            }
        }
        left += members[i].pid != 0;
    }
    return left;
}

static void members_kill(struct member *members, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (members[i].pid > 0) {
            kill(members[i].pid, SIGKILL);
            waitpid(members[i].pid, NULL, 0);
            members[i].pid = 0;
        }
    }
}

static int ready_wait(const struct crew *crew, struct member *members, unsigned count)
{
    const struct timespec look = {.tv_nsec = (long)(READY_LOOK_MS * NS_PER_MS)};

    for (;;) {
        const uint32_t ready = atomic_load(&crew->shared->ready);
        if (ready == crew->workers_count) {
            return 0;
        }
        futex_wait(&crew->shared->ready, ready, &look);
        if (interrupt_pending()) {
            return -EINTR;
        }
        const int left = members_reap(members, count);
        if (left < 0) {
            return left;
        }
    }
}

static void crew_go(const struct crew *crew)
{
    atomic_store(&crew->shared->go, 1); /* [C1] release */
    futex_wake_all(&crew->shared->go);
}

/* Until all have ended or the time is up: how many are left, or an error. */
static int members_wait(struct member *members, unsigned count, double seconds)
{
    const uint64_t deadline = clock_now_ns() + (uint64_t)(seconds * (double)NS_PER_S);
    sigset_t set;

    signals_set(&set);
    for (;;) {
        const int left = members_reap(members, count);
        const uint64_t now = clock_now_ns();
        if (left <= 0 || now >= deadline) {
            return left;
        }
        const struct timespec rest = {.tv_sec = (time_t)((deadline - now) / NS_PER_S),
                                      .tv_nsec = (long)((deadline - now) % NS_PER_S)};
        const int signo = sigtimedwait(&set, NULL, &rest);
        if (signo > 0 && signo != SIGCHLD) {
            raise(signo); /* it stays for interrupt_pending() */
            return -EINTR;
        }
    }
}

static int crew_supervise(struct crew *crew, struct member *members, unsigned count)
{
    int result = members_fork(crew, members);
    if (result == 0) {
        result = ready_wait(crew, members, count);
    }
    if (result < 0) {
        return result;
    }
    struct calls broker_calls = {0};
    if (crew->count_calls && crew->broker != 0) {
        calls_open_process(&broker_calls, crew->broker);
    }
    const uint64_t cpu_before_ns = clock_process_cpu_ns(crew->broker);
    crew_go(crew);
    result = members_wait(members, count, crew->duration_s);
    atomic_store(&crew->shared->stop, 1);
    futex_wake_all(&crew->shared->stop);
    if (result > 0) {
        result = members_wait(members, count, FINISH_LIMIT_S);
    }
    crew->broker_cpu_ns = clock_process_cpu_ns(crew->broker) - cpu_before_ns;
    crew->broker_calls = calls_read(&broker_calls);
    calls_close(&broker_calls);
    if (result > 0) {
        fprintf(stderr, "%d processes did not end within %d s of being told\n", result,
                FINISH_LIMIT_S);
        return -ETIMEDOUT;
    }
    return result;
}

int crew_run(struct crew *crew)
{
    const unsigned count = members_count(crew);
    struct member *members = calloc(count, sizeof *members);
    sigset_t set;

    int result = members ? shared_map(crew) : -ENOMEM;
    if (result == 0) {
        signals_set(&set);
        sigprocmask(SIG_BLOCK, &set, NULL);
        result = crew_supervise(crew, members, count);
        members_kill(members, count);
    }
    free(members);
    return result;
}

const struct worker_result *crew_results(const struct crew *crew, size_t role)
{
    const struct worker_result *results = crew->shared->results;

    for (size_t i = 0; i < role; i++) {
        results += crew->roles[i].processes * crew->roles[i].threads;
    }
    return results;
}

struct crew_sum crew_sum(const struct crew *crew, size_t role)
{
    const struct worker_result *results = crew_results(crew, role);
    struct crew_sum sum = {.begin_ns = UINT64_MAX};

    for (unsigned i = 0; i < crew->roles[role].processes * crew->roles[role].threads; i++) {
        sum.operations += results[i].operations;
        sum.entries += results[i].entries;
        sum.bytes += results[i].bytes;
        sum.begin_ns = results[i].begin_ns < sum.begin_ns ? results[i].begin_ns : sum.begin_ns;
        sum.end_ns = results[i].end_ns > sum.end_ns ? results[i].end_ns : sum.end_ns;
    }
    return sum;
}

static void share_add(struct crew_share *share, const struct worker_result *result)
{
    share->entries += result->entries;
    share->cpu_ns += result->cpu_ns;
    share->calls.calls += result->calls.calls;
    share->calls.yields += result->calls.yields;
}

struct crew_cost crew_cost(const struct crew *crew)
{
    const struct worker_result *result = crew->shared->results;
    struct crew_cost cost = {
        .brokered = crew->broker != 0,
        .broker = {.cpu_ns = crew->broker_cpu_ns, .calls = crew->broker_calls}};

    for (size_t i = 0; i < crew->roles_count; i++) {
        const struct role *role = &crew->roles[i];
        cost.brokered = cost.brokered || role->relays;
        for (unsigned worker = 0; worker < role->processes * role->threads; worker++) {
            share_add(role->relays     ? &cost.broker
                      : role->produces ? &cost.producers
                                       : &cost.consumers,
                      result++);
        }
    }
    return cost;
}

void crew_latency(const struct crew *crew, size_t role, struct histogram *latency_ns)
{
    const struct worker_result *results = crew_results(crew, role);

    memset(latency_ns, 0, sizeof *latency_ns);
    for (unsigned i = 0; i < crew->roles[role].processes * crew->roles[role].threads; i++) {
        histogram_merge(latency_ns, &results[i].latency_ns);
    }
}

void crew_late(const struct crew *crew, size_t role, struct histogram *late_ns)
{
    const struct worker_result *results = crew_results(crew, role);

    memset(late_ns, 0, sizeof *late_ns);
    for (unsigned i = 0; i < crew->roles[role].processes * crew->roles[role].threads; i++) {
        histogram_merge(late_ns, &results[i].late_ns);
    }
}

void crew_deinit(struct crew *crew)
{
    if (crew->shared) {
        munmap(crew->shared, crew->shared_bytes);
        crew->shared = NULL;
    }
}
