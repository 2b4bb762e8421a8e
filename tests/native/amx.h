/* amx.h - the tiles of AMX in C, from the pseudocode of Intel's manual, for processors without them: vec.h
 * takes these operations where TDF_AMX_EMULATION names this file. What the processor would refuse traps. */
#ifndef TDFAST_TEST_AMX_H
#define TDFAST_TEST_AMX_H

static _Thread_local struct {
    v_tiles shape;
    uint32_t tile[8][16][16];
} amx;

/* LDTILECFG */
static void amx_begin(const v_tiles *shape)
{
    if (sizeof *shape != 64 || shape->palette != 1 || shape->start) __builtin_trap();
    for (int i = 0; i < 14; i++)
        if (shape->zero[i]) __builtin_trap();
    for (int t = 0; t < 16; t++)
        if (shape->bytes[t] > (t < 8 ? 64 : 0) || shape->rows[t] > (t < 8 ? 16 : 0) ||
            !shape->bytes[t] != !shape->rows[t])
            __builtin_trap();
    memset(&amx, 0, sizeof amx);
    amx.shape = *shape;
}

/* TILERELEASE */
static void amx_end(void) { memset(&amx, 0xff, sizeof amx); amx.shape.palette = 0; }

static void amx_use(int t)
{
    if (amx.shape.palette != 1 || !amx.shape.rows[t]) __builtin_trap();
}

/* TILELOADD: `step` bytes from row to row */
static void amx_load(int t, const void *from, ptrdiff_t step)
{
    amx_use(t);
    memset(amx.tile[t], 0, sizeof amx.tile[t]);
    for (int r = 0; r < amx.shape.rows[t]; r++)
        memcpy(amx.tile[t][r], (const char *)from + r * step, amx.shape.bytes[t]);
}

/* TILESTORED */
static void amx_store(int t, void *to, ptrdiff_t step)
{
    amx_use(t);
    for (int r = 0; r < amx.shape.rows[t]; r++)
        memcpy((char *)to + r * step, amx.tile[t][r], amx.shape.bytes[t]);
}

static float amx_number(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* TDPBF16PS. The mode of the thread must be that of the instruction: denormals as 0, to the nearest. */
static void amx_multiply(int c, int a, int b)
{
    const v_tiles *s = &amx.shape;
    amx_use(c), amx_use(a), amx_use(b);
    if (c == a || c == b || a == b || s->rows[c] != s->rows[a] || s->bytes[c] != s->bytes[b] ||
        s->bytes[a] != 4 * s->rows[b])
        __builtin_trap();
    for (int m = 0; m < s->rows[c]; m++)
        for (int n = 0; n < s->bytes[c] / 4; n++) {
            volatile float even = 0, odd = 0, sum;
            for (int k = 0; k < s->rows[b]; k++) {
                uint32_t x = amx.tile[a][m][k], y = amx.tile[b][k][n];
                even = fmaf(amx_number(x << 16), amx_number(y << 16), even);
                odd = fmaf(amx_number(x & 0xffff0000u), amx_number(y & 0xffff0000u), odd);
            }
            sum = even + odd;
            sum = amx_number(amx.tile[c][m][n]) + sum;
            float kept = sum;
            memcpy(&amx.tile[c][m][n], &kept, sizeof kept);
        }
}

#define V_TILES_BEGIN(shape) amx_begin(shape)
#define V_TILES_END() amx_end()
#define V_TILE_LOAD(t, from, step) amx_load(t, from, step)
#define V_TILE_STORE(t, to, step) amx_store(t, to, step)
#define V_TILE_MULTIPLY(c, a, b) amx_multiply(c, a, b)

#endif
