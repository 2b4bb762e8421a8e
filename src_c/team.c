/* team.c - see team.h. Built once, with baseline flags. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "tdfast.h"
#include "team.h"

#if defined(__x86_64__) || defined(__i386__)
#define RELAX() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define RELAX() __asm__ volatile("isb")
#else
#define RELAX() ((void)0)
#endif

#define LINE 64                         /* bytes that processors exchange at once */

/* A number that threads wait for. */
typedef struct {
    _Alignas(LINE) atomic_uint_fast64_t value;
    atomic_int sleepers;
    pthread_mutex_t lock;
    pthread_cond_t changed;
} team_word;

/* The last round in which somebody began a part. */
typedef struct { _Alignas(LINE) atomic_uint_fast64_t round; } team_claim;

static struct {
    atomic_flag busy;                   /* somebody's job is running */
    int workers;                        /* threads beside the caller's: number 1, 2, ... */
    int refused;                        /* the system gives no more threads */
    uint64_t round;                     /* the jobs so far */
    team_word post[TEAM_MOST];          /* the newest job with a part for this worker: round << 16 | parts */
    team_claim claim[TEAM_MOST];        /* of each part */
    team_word left;                     /* parts of the job that have not ended */
    team_word gate;                     /* of jobs together: changes when those who came may begin */
    team_word meeting;                  /* of jobs together: changes when all have come to tdf_team_wait */
    atomic_int arrived;                 /* there */
    team_body body;                     /* of the newest job, as are these */
    void *argument;
    int together, members;
    int rank[TEAM_MOST];                /* of jobs together: the part of each thread */
} team;

#define COMING 100000                   /* nanoseconds in which a thread must come to a job together */

/* What threads are worth: see `judge`. All times are nanoseconds. */
#define SOME 10000                      /* a wait that may tell of other programs */
#define USUAL 50000                     /* one that tells nothing of them */
#define CREDIT 4000000                  /* the most that counts of what was saved: a turn of another's */
#define WATCHED 100000000
#define PAUSE_LEAST 10000000
#define PAUSE_MOST 500000000

static struct {
    atomic_int most;                    /* threads that are worth it, as far as is known; 0: all */
    atomic_int_fast64_t again;          /* when one more is to be tried */
    int64_t pause;                      /* before that */
    int64_t balance;                    /* what the last thread saved, less what was lost beside it */
    int64_t watched;                    /* until then the caller's processor time is measured as well */
} worth = {.balance = CREDIT};

static atomic_long patience = 50000;
static _Thread_local int parts_here;    /* of the job together that this thread is in; 0: of none */
static _Thread_local int64_t slept;     /* nanoseconds that it waited beyond its patience, in a job */

/* ------------------------------------------------------------------ waiting */

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t value_of(team_word *w) { return atomic_load(&w->value); }

/* Whether what `holds` says of the word became true within some nanoseconds. */
static int looks(team_word *w, int (*holds)(uint64_t value, uint64_t than), uint64_t than, int64_t time)
{
    if (holds(value_of(w), than)) return 1;
    for (int64_t end = now() + time; !holds(value_of(w), than);) {
        if (now() > end) return 0;
        for (int i = 0; i < 16 && !holds(value_of(w), than); i++) RELAX();
    }
    return 1;
}

static void wait_until(team_word *w, int (*holds)(uint64_t value, uint64_t than), uint64_t than)
{
    if (looks(w, holds, than, atomic_load(&patience))) return;
    int64_t start = now();
    pthread_mutex_lock(&w->lock);
    atomic_fetch_add(&w->sleepers, 1);  /* before the value is read again: `wake` reads the other way round */
    while (!holds(value_of(w), than)) pthread_cond_wait(&w->changed, &w->lock);
    atomic_fetch_sub(&w->sleepers, 1);
    pthread_mutex_unlock(&w->lock);
    slept += now() - start;
}

static int differs(uint64_t value, uint64_t than) { return value != than; }
static int is_at_most(uint64_t value, uint64_t than) { return value <= than; }

/* After the word was changed. */
static void wake(team_word *w)
{
    if (!atomic_load(&w->sleepers)) return;
    pthread_mutex_lock(&w->lock);
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

/* ------------------------------------------------------------------ parts */

/* Whether the caller of this is the one to run a part of a round. A thread that comes too late, when the
 * round is over, finds that all its parts have been begun in that round or in a later one. */
static int claim(int part, uint64_t round)
{
    uint_fast64_t last = atomic_load(&team.claim[part].round);
    return last < round && atomic_compare_exchange_strong(&team.claim[part].round, &last, round);
}

static void end_part(void)
{
    if (atomic_fetch_sub(&team.left.value, 1) == 1) wake(&team.left);
}

/* Part `first` and those after it, round to the one before it: whatever nobody has begun. How many. */
static int run_parts(int first, int parts, uint64_t round)
{
    int ran = 0;
    for (int i = 0; i < parts; i++) {
        int part = (first + i) % parts;
        if (!claim(part, round)) continue;
        team.body(team.argument, part, parts);
        end_part();
        ran++;
    }
    return ran;
}

static void run_member(int part)
{
    parts_here = team.members;
    team.body(team.argument, part, parts_here);
    parts_here = 0;
}

static void *work(void *number)
{
    int own = (int)(intptr_t)number;
    for (uint64_t job = 0;;) {
        wait_until(&team.post[own], differs, job);
        job = value_of(&team.post[own]);
        uint64_t gate = value_of(&team.gate);
        if (!claim(own, job >> 16)) continue;
        if (team.together) {
            end_part();                 /* it has come */
            wait_until(&team.gate, differs, gate);
            run_member(team.rank[own]);
            end_part();
        } else {
            team.body(team.argument, own, (int)(job & 0xffff));
            end_part();
            run_parts(own, (int)(job & 0xffff), job >> 16);
        }
    }
    return NULL;
}

static void prepare(team_word *w)
{
    atomic_store(&w->value, 0);
    atomic_store(&w->sleepers, 0);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
}

/* ------------------------------------------------------------------ worth */

static int64_t processor_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int tdf_team_worth(int threads)
{
    int most = atomic_load_explicit(&worth.most, memory_order_relaxed);
    if (!most || threads <= most) return threads;
    return now() < atomic_load(&worth.again) ? most : most + 1;
}

/* After a job of so many parts. The caller worked `busy` nanoseconds on `own` of them. `lost` is the rest
 * of its time: it woke threads, waited for a part that a thread without a processor had begun, or had none
 * itself. The last thread saved what one fewer would have taken more. Where that is less than what was
 * lost, one fewer works for ten times as long as the loss, or for twice as long as the last time: no more
 * than a tenth is lost in trying. */
static void judge(int parts, int own, int64_t busy, int64_t lost)
{
    int64_t part = busy / own, pause = 10 * lost;
    if (lost > SOME + part / 4) worth.watched = now() + WATCHED;
    if (parts > 2 && lost <= USUAL + part / 4) lost = 0;        /* of many, one is always a little late */
    worth.balance += part * (parts - own) / ((int64_t)(parts - 1) * (parts - 1)) - lost;
    if (worth.balance < 0) {
        if (pause < 2 * worth.pause) pause = 2 * worth.pause;
        if (pause < PAUSE_LEAST) pause = PAUSE_LEAST;
        worth.pause = pause < PAUSE_MOST ? pause : PAUSE_MOST;
        worth.balance = 0;
        atomic_store(&worth.again, now() + worth.pause);
        atomic_store(&worth.most, parts - 1);
    } else if (worth.balance >= CREDIT) {
        int most = atomic_load_explicit(&worth.most, memory_order_relaxed);
        worth.balance = CREDIT;
        if (!most || parts <= most) return;
        worth.pause = worth.balance = 0;
        atomic_store(&worth.most, parts);
    }
}

/* ------------------------------------------------------------------ jobs */

static void have_workers(int wanted)
{
    sigset_t all, before;
    if (team.workers >= wanted || team.refused) return;
    sigfillset(&all);                   /* signals are for the program's own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (team.workers < wanted && !team.refused) {
        pthread_t thread;
        prepare(&team.post[team.workers + 1]);
        if (pthread_create(&thread, NULL, work, (void *)(intptr_t)(team.workers + 1))) team.refused = 1;
        else {
            pthread_detach(thread);
            team.workers++;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Tells the team of a job, with part 0 begun. */
static void post(team_body body, void *job, int parts, int together)
{
    uint64_t round = ++team.round;
    team.body = body;
    team.argument = job;
    team.together = together;
    atomic_store(&team.left.value, (uint64_t)(together ? parts - 1 : parts));
    atomic_store(&team.claim[0].round, round);
    for (int i = 1; i < parts && i <= team.workers; i++) {
        atomic_store(&team.post[i].value, round << 16 | (uint64_t)parts);
        wake(&team.post[i]);
    }
}

static int take_team(int parts)
{
    if (parts < 2 || atomic_flag_test_and_set(&team.busy)) return 0;
    have_workers(parts - 1);
    return 1;
}

void tdf_team_run(team_body body, void *job, int parts)
{
    if (!take_team(parts)) {
        for (int i = 0; i < parts; i++) body(job, i, parts);
        return;
    }
    int64_t start = now(), watched = start < worth.watched;
    post(body, job, parts, 0);
    int64_t posted = now(), used = watched ? processor_time() : 0;
    body(job, 0, parts);
    end_part();
    int own = 1 + run_parts(0, parts, team.round);
    int64_t busy = watched ? processor_time() - used : now() - posted;
    wait_until(&team.left, is_at_most, 0);
    judge(parts, own, busy, now() - start - busy);
    atomic_flag_clear(&team.busy);
}

void tdf_team_run_together(team_body body, void *job, int parts)
{
    if (!take_team(parts)) {
        body(job, 0, 1);
        return;
    }
    if (parts > team.workers + 1) parts = team.workers + 1;
    int64_t start = now();
    post(body, job, parts, 1);
    looks(&team.left, is_at_most, 0, COMING);
    team.members = 1;
    for (int i = 1; i < parts; i++)
        if (!claim(i, team.round)) team.rank[i] = team.members++;
        else end_part();                                        /* it did not come, and may not any more */
    wait_until(&team.left, is_at_most, 0);
    atomic_store(&team.arrived, 0);
    atomic_store(&team.left.value, (uint64_t)(team.members - 1));
    atomic_fetch_add(&team.gate.value, 1);
    wake(&team.gate);
    int64_t coming = now() - start;
    slept = 0;
    run_member(0);
    int64_t busy = now() - start - coming - slept;
    wait_until(&team.left, is_at_most, 0);
    if (parts > 1) judge(parts, parts - team.members + 1, busy, coming + slept);
    atomic_flag_clear(&team.busy);
}

void tdf_team_wait(void)
{
    if (parts_here < 2) return;
    uint64_t before = value_of(&team.meeting);
    if (atomic_fetch_add(&team.arrived, 1) + 1 == parts_here) {
        atomic_store(&team.arrived, 0);
        atomic_fetch_add(&team.meeting.value, 1);
        wake(&team.meeting);
    } else {
        wait_until(&team.meeting, differs, before);
    }
}

void tdf_team_set_patience(long nanoseconds) { atomic_store(&patience, nanoseconds); }

/* ------------------------------------------------------------------ forks */

/* A child has the thread that called fork alone: no workers, and locks in whatever state they were. What
 * threads are worth to it is not known yet. */
static void start_anew(void)
{
    atomic_store(&worth.most, 0);
    worth.pause = worth.watched = 0;
    worth.balance = CREDIT;
    atomic_flag_clear(&team.busy);
    team.workers = team.refused = 0;
    parts_here = 0;
    prepare(&team.left);
    prepare(&team.gate);
    prepare(&team.meeting);
}

int tdf_team_watch_forks(void)
{
    start_anew();
    return pthread_atfork(NULL, NULL, start_anew);
}
