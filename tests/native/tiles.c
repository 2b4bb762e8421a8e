/* tiles.c - the tile of low.h in two builds, the plain one and that of AMX with amx.h in the place of its
 * instructions, must give the same bits: compiled for each with its TILE_NAME, and once with TILES_MAIN. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define MOST 12                 /* rows */
#define DEPTH 70
#define SUMS 512                /* bytes of a row's sums, at the most */

typedef struct {
    int rows, vectors;
    ptrdiff_t K, ar, ak, bk, bv;
    const float *a, *b;
    void *sums;
} tile_call;
int tile_plain(const tile_call *c);
int tile_amx(const tile_call *c);

#ifdef TILES_MAIN
static uint64_t state = 1;

static uint64_t next(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 32;
}

/* Mostly numbers near 1; some at the edges. */
static float number(int wild)
{
    static const float edges[] = {0, -0.0f, 1e-40f, -1.1e-38f, 1.18e-38f, 1e-30f, -3e20f, 3.38e38f,
                                  1.00390625f, 1.01171875f, INFINITY, -INFINITY, NAN};
    if (next() % 5 == 0) return edges[next() % (wild ? 13 : 6)];
    return (float)((double)next() / 4294967296.0 * 4 - 2);
}

int main(void)
{
    static float a[MOST * DEPTH], b[DEPTH * 64], begun[MOST * SUMS / 4];
    static float plain[MOST * SUMS / 4], amx[MOST * SUMS / 4];
    long compared = 0;
    for (int i = 0; i < 4000; i++) {
        tile_call c = {.rows = 1 + (int)(next() % MOST), .vectors = 1 + (int)(next() % 4), .a = a, .b = b,
                       .K = (ptrdiff_t)(next() % (DEPTH + 1)), .bk = 64, .bv = 16};
        int by_column = (int)(next() % 2);
        c.ar = by_column ? 1 : DEPTH, c.ak = by_column ? MOST : 1;
        for (int j = 0; j < MOST * DEPTH; j++) a[j] = number(i % 2);
        for (int j = 0; j < DEPTH * 64; j++) b[j] = number(i % 2);
        for (int j = 0; j < MOST * SUMS / 4; j++) begun[j] = number(0);
        memcpy(plain, begun, sizeof begun);
        memcpy(amx, begun, sizeof begun);
        c.sums = plain;
        int bytes = tile_plain(&c);
        c.sums = amx;
        tile_amx(&c);
        for (int j = 0; j < (int)(sizeof begun / sizeof *begun); j++) {
            if (isnan(plain[j]) && isnan(amx[j])) continue;
            if (memcmp(&plain[j], &amx[j], 4) != 0) {
                printf("call %d, %d rows, %d vectors of %d bytes, K=%td, sum %d: %a and %a\n", i, c.rows,
                       c.vectors, bytes, c.K, j, (double)plain[j], (double)amx[j]);
                return 1;
            }
            compared++;
        }
    }
    printf("%ld sums have the same bits\n", compared);
    return 0;
}
#else
#include "tile.h"

/* The bytes of a vector. */
int TILE_NAME(const tile_call *c)
{
    unsigned long mode = v_enter_mode();
    tile(c->rows, c->vectors, c->K, c->a, c->ar, c->ak, c->b, c->bk, c->bv, c->sums);
    v_leave_mode(mode);
    return (int)sizeof(vf);
}
#endif
