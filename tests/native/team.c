/* team.c - a driver for src_c/team.c: every part runs once, parts that wait for one another meet, callers and
 * forks do not disturb each other, with threads that sleep at once and with threads that look for work for
 * long.
 *
 *   team                  says how many jobs it ran; ends with 1 and a line for what is wrong
 *   team ROUNDS noforks   fewer of them, and no forks, which ThreadSanitizer does not follow
 *   team fault            two threads run one part: a checker must report it
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tdfast.h"
#include "team.h"

#define PARTS 7
#define CALLERS 3

typedef struct {
    int ran[PARTS], parts[PARTS];       /* of each part */
    int phase[PARTS];
    atomic_int wrong;
} sheet;

static void fail(const char *what, int parts)
{
    printf("%s, with %d parts\n", what, parts);
    fflush(stdout);
    _exit(1);
}

static void mark(void *job, int part, int parts)
{
    sheet *s = job;
    for (volatile int i = 0; i < 50 * (part & 1); i++) continue;        /* parts of unlike work */
    s->ran[part]++;
    s->parts[part] = parts;
}

static void meet(void *job, int part, int parts)
{
    sheet *s = job;
    mark(job, part, parts);
    for (int phase = 1; phase <= 4; phase++) {
        s->phase[part] = phase;
        tdf_team_wait();
        for (int i = 0; i < parts; i++)
            if (s->phase[i] != phase) atomic_store(&s->wrong, 1);
        tdf_team_wait();
    }
}

static void jobs(int rounds)
{
    for (int round = 0; round < rounds; round++) {
        int parts = 1 + round % PARTS, ran = 0;
        /* on the stack: who comes late finds another's frame */
        sheet one, together;
        memset(&one, 0, sizeof one);
        memset(&together, 0, sizeof together);
        tdf_team_run(mark, &one, parts);
        for (int i = 0; i < PARTS; i++)
            if (one.ran[i] != (i < parts) || one.parts[i] != (i < parts ? parts : 0))
                fail("a part did not run once", parts);
        if (round % 4) continue;
        tdf_team_run_together(meet, &together, parts);
        while (ran < PARTS && together.ran[ran] == 1) ran++;
        for (int i = 0; i < PARTS; i++)
            if (together.ran[i] != (i < ran) || together.parts[i] != (i < ran ? ran : 0))
                fail("a member did not run once", parts);
        if (ran < 1 || ran > parts || atomic_load(&together.wrong)) fail("parts did not meet", parts);
    }
}

static void *call(void *rounds)
{
    jobs(*(int *)rounds);
    return NULL;
}

static void side_by_side(int rounds)
{
    pthread_t callers[CALLERS];
    for (int i = 0; i < CALLERS; i++)
        if (pthread_create(&callers[i], NULL, call, &rounds)) fail("no thread", i);
    for (int i = 0; i < CALLERS; i++) pthread_join(callers[i], NULL);
}

/* A child forked while another thread's jobs run. */
static void forked(int rounds)
{
    pthread_t other;
    if (pthread_create(&other, NULL, call, &rounds)) fail("no thread", 0);
    for (int i = 0; i < 5; i++) {
        int status = 1;
        pid_t child = fork();
        if (child == 0) {
            alarm(120);
            jobs(50);
            _exit(0);
        }
        waitpid(child, &status, 0);
        if (status) fail("a forked child ended badly", status);
        jobs(50);
    }
    pthread_join(other, NULL);
}

static void *call_once(void *s)
{
    mark(s, 0, 1);
    return NULL;
}

static int fault(void)
{
    static sheet s;
    pthread_t other;
    if (pthread_create(&other, NULL, call_once, &s)) fail("no thread", 0);
    mark(&s, 0, 1);
    pthread_join(other, NULL);
    printf("%d\n", s.ran[0]);
    return 0;
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 && argv[1][0] != 'f' ? atoi(argv[1]) : 5000;
    long patience[] = {0, 50000, 2000000};
    if (tdf_team_watch_forks()) fail("no watch over forks", 0);
    if (argc > 1 && argv[1][0] == 'f') return fault();
    for (int i = 0; i < 3; i++) {
        tdf_team_set_patience(patience[i]);
        jobs(rounds);
        side_by_side(rounds / 4);
        if (argc < 3) forked(rounds / 8);
    }
    printf("the team: %d jobs\n", 3 * (rounds + CALLERS * (rounds / 4) + rounds / 8));
    return 0;
}
