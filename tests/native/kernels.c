/* kernels.c - runs every kernel on pseudo-random inputs, in memory of exactly the sizes that tdfast.h states.
 *
 *   kernels               on every instruction set of this processor with 1 to 4 threads: those with a fused
 *                         multiply-add must give the same bits, the baseline must be near them, and threads
 *                         must change nothing; so in every precision of products
 *   kernels list ISA      one line for each result, with a hash of its bits: for comparing processors
 *   kernels fault KIND    a deliberate fault in a kernel (race, heap, undefined, uninitialised): a checker
 *                         must report it
 *
 * A kernel that no case calls is an error, and so are an activation, a loss or a rule that is left out: the
 * list of kernels and the ends of the loops come from tdfast.h. Compiled with TDF_F64 it runs the float64
 * kernels instead. The kernels should be compiled with a small SPAN_GRAIN, so that small sizes are worth
 * several threads.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tdfast.h"

#define MOST_THREADS 4
/* how far the baseline may be from the others, relative to an array's largest value */
#define NEAR 1e-4
static const double nearer[] = {[TDF_HIGHEST] = 1, [TDF_HIGH] = 10, [TDF_MEDIUM] = 500};
static const char *const precisions[] = {[TDF_HIGHEST] = "", [TDF_HIGH] = " high", [TDF_MEDIUM] = " medium"};

/* ----------------------------------------------------------- the table under test, with its calls counted */

#define NUMBER(kernel, args, isa) K_##kernel,
enum { TDF_KERNELS(NUMBER, any) KERNELS };
#define TITLE(kernel, args, isa) #kernel,
static const char *const titles[] = {TDF_KERNELS(TITLE, any)};

static const tdf_table *inner;
static long calls[KERNELS];
#define COUNTED(kernel, args, isa) \
    static void counted_##kernel(const args *a) { calls[K_##kernel]++; inner->kernel(a); }
TDF_KERNELS(COUNTED, any)
#define MEMBER(kernel, args, isa) .kernel = counted_##kernel,
static const tdf_table k = {.name = "counted", TDF_KERNELS(MEMBER, any)};

static int threads, precision;

static void fail(const char *what, const char *name)
{
    fflush(stdout);
    fprintf(stderr, "kernels: %s: %s\n", what, name);
    exit(1);
}

/* ------------------------------------------------------------------ memory and numbers */

static void *blocks[64];
static int n_blocks;

static void *take(ptrdiff_t bytes)
{
    void *p = malloc(bytes > 0 ? (size_t)bytes : 1);
    if (!p || n_blocks == 64) fail("memory", "too much of it");
    return blocks[n_blocks++] = p;
}

static void release(void)
{
    while (n_blocks) free(blocks[--n_blocks]);
}

/* Memory that a kernel writes. What it leaves out is seen: it holds NaN, or nothing where a checker looks for
 * that. */
static real *room(ptrdiff_t n)
{
    real *p = take(n * (ptrdiff_t)sizeof(real));
#ifndef LEAVE_UNINITIALISED
    memset(p, 0xff, (size_t)n * sizeof(real));
#endif
    return p;
}

static uint64_t state;

static uint64_t next(void)              /* splitmix64 */
{
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static real uniform(double lo, double hi)
{
    return (real)(lo + (hi - lo) * (double)(next() >> 40) / 16777216.0);
}

/* What a processor may treat in its own way: zeros of both signs, denormals, infinities, NaN, the edges of
 * formulas. */
static real wild(void)
{
    static const double edges[] = {0.0, -0.0, 1e-40, -1e-40, 1.17549435e-38, -1.17549435e-38, 1e-30, 1e30,
                                   -1e30, 3.4e38, -3.4e38, INFINITY, -INFINITY, NAN, 0.5, -0.5, 1, -1, 3, -3,
                                   6, 88.7, -87.3, 100, -100};
    uint64_t r = next();
    if (r % 4 == 0) return (real)edges[(r >> 8) % (sizeof edges / sizeof *edges)];
    if (r % 4 == 1) {
        uint32_t bits = (uint32_t)(r >> 16);
        float value;
        memcpy(&value, &bits, 4);
        return (real)value;
    }
    return r % 4 == 2 ? uniform(-100, 100) : uniform(-4, 4);
}

enum { USUAL, UNIT, WILD };             /* -2..2; 0.01..0.99; see above */

static real *filled(ptrdiff_t n, int profile)
{
    real *p = take(n * (ptrdiff_t)sizeof(real));
    for (ptrdiff_t i = 0; i < n; i++)
        p[i] = profile == WILD ? wild() : profile == UNIT ? uniform(0.01, 0.99) : uniform(-2, 2);
    return p;
}

static uint8_t *bits_of(ptrdiff_t n)    /* some three quarters are 1 */
{
    uint8_t *p = take(n);
    for (ptrdiff_t i = 0; i < n; i++) p[i] = next() % 4 != 0;
    return p;
}

/* ------------------------------------------------------------------ results */

typedef struct {
    char name[120];
    ptrdiff_t n;
    int near;                           /* the baseline must be near: not where the inputs are wild */
    double *v;
} result;

typedef struct {
    ptrdiff_t n, room;
    result *r;
} results;

static results *now;
static char label[80];
static int near_each_other;

/* Starts a case: its random numbers depend on its name alone. */
static void begin(int profile, const char *text)
{
    snprintf(label, sizeof label, "%s%s", text, profile == WILD ? " wild" : "");
    near_each_other = profile != WILD;
    state = 1469598103934665603u;
    for (const char *c = label; *c; c++) state = (state ^ (uint64_t)(unsigned char)*c) * 1099511628211u;
}

static double *kept(const char *name, ptrdiff_t n)
{
    if (now->n == now->room)
        now->r = realloc(now->r, (size_t)(now->room = 2 * now->room + 64) * sizeof(result));
    result *r = now->r ? &now->r[now->n++] : NULL;
    if (!r || !(r->v = malloc((size_t)n * sizeof(double) + 1))) fail("memory", name);
    snprintf(r->name, sizeof r->name, "%s: %s", label, name);
    r->n = n;
    r->near = near_each_other;
    return r->v;
}

static void keep(const char *name, const real *p, ptrdiff_t n)
{
    if (!p) return;
    double *v = kept(name, n);
    /* the sign of a NaN differs */
    for (ptrdiff_t i = 0; i < n; i++) v[i] = p[i] != p[i] ? NAN : (double)p[i];
}

static void keep_double(const char *name, double value) { *kept(name, 1) = value != value ? NAN : value; }

static uint64_t hash(const result *r)
{
    uint64_t h = 1469598103934665603u;
    for (ptrdiff_t i = 0; i < r->n; i++) {
        uint64_t bits;
        memcpy(&bits, r->v + i, 8);
        h = (h ^ bits) * 1099511628211u;
        h ^= h >> 29;
    }
    return h;
}

static void forget(results *all)
{
    for (ptrdiff_t i = 0; i < all->n; i++) free(all->r[i].v);
    free(all->r);
    *all = (results){0};
}

/* ------------------------------------------------------------------ the cases */

static void act_case(int act, ptrdiff_t M, ptrdiff_t N, int profile, int in_place)
{
    char text[80];
    snprintf(text, sizeof text, "act %d (%d,%d)%s", act, (int)M, (int)N, in_place ? " in place" : "");
    begin(profile, text);
    ptrdiff_t n = M * N;
    in_place = in_place && !tdf_act_needs_input(act);
    real *x = filled(n, profile), *y = in_place ? x : room(n);
    k.act_forward(&(tdf_act){.threads = threads, .act = act, .M = M, .N = N, .x = x, .y = y});
    keep("y", y, n);
    real *dy = filled(n, profile), *dx = in_place ? dy : room(n);
    k.act_backward(&(tdf_act){.threads = threads, .act = act, .M = M, .N = N, .x = in_place ? NULL : x,
                              .y = y, .dy = dy, .dx = dx});
    keep("dx", dx, n);
    release();
}

static void act_cases(void)
{
    static const int sizes[][2] = {{1, 1}, {3, 17}, {5, 64}, {37, 9}, {0, 4}};
    for (int act = 0; act < TDF_ACTIVATIONS; act++)
        for (int i = 0; i < 5; i++)
            for (int profile = USUAL; profile <= WILD; profile += WILD)
                for (int in_place = 0; in_place < 2; in_place++)
                    act_case(act, sizes[i][0], sizes[i][1], profile, in_place);
}

static void dense_case(int act, ptrdiff_t M, ptrdiff_t K, ptrdiff_t N, int bare, int profile)
{
    char text[80];
    snprintf(text, sizeof text, "dense %d (%d,%d,%d)%s", act, (int)M, (int)K, (int)N, bare ? " bare" : "");
    begin(profile, text);
    tdf_dense a = {.threads = threads, .act = act, .M = M, .K = K, .N = N};
    a.x = filled(M * K, profile);
    a.kernel = filled(K * N, USUAL);
    a.bias = bare ? NULL : filled(N, USUAL);
    a.packed = room(tdf_dense_pack_size(K, N));
    a.z = act == TDF_LINEAR || (bare && !tdf_act_needs_input(act)) ? NULL : room(M * N);
    a.y = room(M * N);
    k.dense_pack(&a);
    k.dense_forward(&a);
    keep("y", a.y, M * N);
    a.scratch = room(tdf_dense_scratch_size(K, N, threads));
    real *dy = filled(M * N, profile);
    a.dy = dy;
    a.dz = bare ? dy : room(M * N);
    a.dx = bare ? NULL : room(M * K);
    a.dkernel = room(K * N);
    a.dbias = bare ? NULL : room(N);
    k.dense_backward(&a);
    keep("dx", a.dx, M * K);
    keep("dkernel", a.dkernel, K * N);
    keep("dbias", a.dbias, N);
    release();
}

static void dense_cases(void)
{
    static const int acts[] = {TDF_LINEAR, TDF_TANH, TDF_GELU, TDF_SOFTMAX};
    static const int sizes[][3] = {{1, 1, 1}, {7, 5, 3}, {6, 16, 64}, {97, 65, 130}, {13, 1025, 33},
                                   {257, 21, 17}, {0, 4, 4}};
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 7; j++)
            for (int bare = 0; bare < 2; bare++)
                dense_case(acts[i], sizes[j][0], sizes[j][1], sizes[j][2], bare, USUAL);
    for (int j = 0; j < 4; j++) dense_case(TDF_RELU, sizes[j][0], sizes[j][1], sizes[j][2], 0, WILD);
}

typedef struct {
    int act, groups, N, H, W, C, F, kh, kw, sh, sw, dh, dw, top, left, below, right;
    int D, kd, sd, dd, front, behind;       /* an image: 0, one plane of it */
} conv_sizes;

static void conv_case(const conv_sizes *s, int bare, int profile)
{
    char text[80];
    snprintf(text, sizeof text, "conv %d g%d (%d,%d,%d,%d) %d %dx%d/%dx%d*%dx%d%s", s->act, s->groups, s->N,
             s->H, s->W, s->C,
             s->F, s->kh, s->kw, s->sh, s->sw, s->dh, s->dw, bare ? " bare" : "");
    if (s->D) snprintf(text + strlen(text), sizeof text - strlen(text), " of %d/%d", s->D, s->kd);
    begin(profile, text);
    tdf_conv a = {.threads = threads, .act = s->act, .groups = s->groups, .N = s->N, .H = s->H, .W = s->W,
                  .C = s->C, .F = s->F, .kh = s->kh, .kw = s->kw, .sh = s->sh, .sw = s->sw, .dh = s->dh,
                  .dw = s->dw, .top = s->top, .left = s->left, .Hp = s->H + s->top + s->below,
                  .Wp = s->W + s->left + s->right, .D = 1, .kd = 1, .sd = 1, .dd = 1, .Dp = 1};
    if (s->D) {
        a.D = s->D, a.kd = s->kd, a.sd = s->sd, a.dd = s->dd, a.front = s->front;
        a.Dp = s->D + s->front + s->behind;
    }
    a.Do = (a.Dp - (a.kd - 1) * a.dd - 1) / a.sd + 1;
    a.Ho = (a.Hp - (a.kh - 1) * a.dh - 1) / a.sh + 1;
    a.Wo = (a.Wp - (a.kw - 1) * a.dw - 1) / a.sw + 1;
    ptrdiff_t in = a.N * a.D * a.H * a.W * a.C, out = a.N * a.Do * a.Ho * a.Wo * a.F;
    ptrdiff_t weights = a.kd * a.kh * a.kw * (a.C / a.groups) * a.F;
    a.x = filled(in, profile);
    a.kernel = filled(weights, USUAL);
    a.bias = bare ? NULL : filled(a.F, USUAL);
    a.z = a.act == TDF_LINEAR || (bare && !tdf_act_needs_input(a.act)) ? NULL : room(out);
    a.y = room(out);
    a.packed = room(tdf_conv_pack_size(&a));
    a.scratch = room(tdf_conv_infer_size(&a));
    k.conv_pack(&a);
    k.conv_forward(&a);
    keep("y", a.y, out);
    a.scratch = room(tdf_conv_scratch_size(&a));
    a.dy = filled(out, profile);
    a.dx = bare ? NULL : room(in);
    a.dkernel = room(weights);
    a.dbias = bare ? NULL : room(a.F);
    k.conv_backward(&a);
    keep("dx", a.dx, in);
    keep("dkernel", a.dkernel, weights);
    keep("dbias", a.dbias, a.F);

    a.dy = filled(out, profile);
    a.bias = bare ? NULL : filled(a.C, USUAL);
    a.z = a.act == TDF_LINEAR || (bare && !tdf_act_needs_input(a.act)) ? NULL : room(in);
    a.y = room(in);
    a.scratch = room(tdf_conv_transpose_size(&a));
    k.conv_transpose(&a);
    keep("transposed", a.y, in);
    release();
}

static void conv_cases(void)
{
    static const conv_sizes sizes[] = {
        {TDF_LINEAR, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
        {TDF_RELU, 1, 3, 1, 19, 5, 17, 1, 3, 1, 1, 1, 1, 0, 1, 0, 1},        /* of sequences, same */
        {TDF_GELU, 1, 2, 1, 23, 3, 70, 1, 3, 1, 1, 1, 2, 0, 4, 0, 0},        /* causal, dilated */
        {TDF_TANH, 1, 5, 9, 11, 3, 8, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1},
        {TDF_SOFTMAX, 2, 2, 7, 8, 4, 6, 2, 3, 1, 2, 2, 1, 0, 0, 1, 0},       /* groups */
        {TDF_LINEAR, 7, 3, 6, 7, 7, 7, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1},        /* depthwise */
        /* depthwise, three filters a channel */
        {TDF_SILU, 5, 3, 6, 7, 5, 15, 3, 2, 2, 1, 1, 2, 0, 0, 0, 0},
        {TDF_LINEAR, 1, 34, 4, 5, 2, 3, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0},       /* more images than parts */
        /* a kernel too large for parts */
        {TDF_LINEAR, 1, 2, 2, 3, 200, 180, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
        /* volumes, dilated rows */
        {TDF_TANH, 1, 3, 5, 4, 3, 17, 3, 2, 2, 1, 1, 2, 1, 0, 1, 1, 4, 3, 1, 1, 1, 1},
        {TDF_LINEAR, 1, 2, 4, 5, 2, 5, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0, 5, 2, 3, 2, 0, 0},
        {TDF_RELU, 2, 2, 4, 5, 4, 6, 2, 2, 1, 1, 2, 2, 1, 1, 1, 1, 3, 2, 1, 1, 1, 0},      /* groups */
        {TDF_LINEAR, 3, 2, 4, 5, 3, 6, 3, 2, 1, 2, 1, 1, 1, 0, 1, 1, 4, 2, 2, 1, 0, 1},    /* depthwise */
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int bare = 0; bare < 2; bare++) conv_case(&sizes[i], bare, USUAL);
    for (int i = 3; i < 7; i++) conv_case(&sizes[i], 0, WILD);
    conv_case(&sizes[9], 0, WILD);
}

static void pool_case(int mean, int masked, const int *s, int profile)
{
    char text[80];
    snprintf(text, sizeof text, "pool %s%s (%d,%d,%d,%d,%d) %dx%dx%d", mean ? "mean" : "max",
             masked ? " masked" : "", s[0],
             s[10], s[1], s[2], s[3], s[11], s[4], s[5]);
    begin(profile, text);
    tdf_pool a = {.threads = threads, .mean = mean, .N = s[0], .H = s[1], .W = s[2], .C = s[3], .kh = s[4],
                  .kw = s[5], .sh = s[6], .sw = s[7], .top = s[8], .left = s[9], .D = s[10], .kd = s[11],
                  .sd = s[12], .front = s[13],
                  .adaptive = s[14]};
    a.Do = a.adaptive ? 3 : (a.D + a.front - 1) / a.sd + 1;
    a.Ho = a.adaptive ? 2 : (a.H + a.top - 1) / a.sh + 1;
    a.Wo = a.adaptive ? 5 : (a.W + a.left - 1) / a.sw + 1;
    ptrdiff_t in = a.N * a.D * a.H * a.W * a.C, out = a.N * a.Do * a.Ho * a.Wo * a.C;
    a.x = filled(in, profile);
    a.mask = masked ? bits_of(a.N * a.D * a.H * a.W) : NULL;
    a.y = room(out);
    k.pool_forward(&a);
    keep("y", a.y, out);
    a.dy = filled(out, profile);
    a.dx = room(in);
    k.pool_backward(&a);
    keep("dx", a.dx, in);
    release();
}

static void pool_cases(void)
{
    static const int sizes[][15] = {
        {1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0}, {3, 1, 19, 5, 1, 2, 1, 2, 0, 0, 1, 1, 1, 0, 0},
        {2, 9, 8, 17, 3, 3, 2, 2, 1, 1, 1, 1, 1, 0, 0}, {5, 6, 6, 33, 2, 3, 1, 2, 1, 2, 1, 1, 1, 0, 0},
        /* volumes */
        {0, 2, 2, 3, 2, 2, 2, 2, 0, 0, 1, 1, 1, 0, 0}, {3, 4, 5, 9, 2, 2, 2, 2, 0, 1, 5, 3, 2, 1, 0},
        /* adaptive */
        {2, 5, 6, 17, 2, 2, 2, 2, 0, 0, 4, 2, 2, 0, 0}, {2, 5, 7, 5, 1, 1, 1, 1, 0, 0, 4, 1, 1, 0, 1},
        {3, 1, 3, 17, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0, 1}};
    for (int i = 0; i < 9; i++)
        for (int profile = USUAL; profile <= WILD; profile += WILD) {
            pool_case(0, 0, sizes[i], profile);
            pool_case(1, 0, sizes[i], profile);
            pool_case(1, 1, sizes[i], profile);
        }
}

typedef struct {
    /* bits of masks: queries, keys, mask */
    int B, T, S, H, G, D, E, causal, window, moved, zero, masks;
} attention_sizes;

static void attention_case(const attention_sizes *s, int profile)
{
    char text[80];
    snprintf(text, sizeof text, "attention (%d,%d,%d) %d/%d (%d,%d) %d%d%d%d%d", s->B, s->T, s->S, s->H,
             s->G, s->D, s->E, s->causal,
             s->window, s->moved, s->zero, s->masks);
    begin(profile, text);
    tdf_attention a = {.threads = threads, .causal = s->causal, .moved = s->moved, .zero = s->zero,
                       .window = s->window, .B = s->B,
                       .T = s->T, .S = s->S, .H = s->H, .G = s->G, .D = s->D, .E = s->E, .scale = 0.3};
    ptrdiff_t q = a.B * a.T * a.H * a.D, k_size = a.B * a.S * a.G * a.D, v = a.B * a.S * a.G * a.E,
              y = a.B * a.T * a.H * a.E;
    a.q = filled(q, profile);
    a.k = filled(k_size, profile);
    a.v = filled(v, profile);
    a.queries = s->masks & 1 ? bits_of(a.B * a.T) : NULL;
    a.keys = s->masks & 2 ? bits_of(a.B * a.S) : NULL;
    if (s->masks & 4) {                 /* the same for all heads */
        a.mask = bits_of(a.B * a.T * a.S);
        a.mask_b = a.T * a.S;
        a.mask_t = a.S;
        a.mask_s = 1;
    }
    a.y = room(y);
    a.stats = room(a.B * a.H * a.T * 2);
    a.scratch = room(tdf_attention_scratch_size(&a));
    k.attention_forward(&a);
    keep("y", a.y, y);
    a.scratch = room(tdf_attention_scratch_size(&a));
    a.dy = filled(y, USUAL);
    a.dq = room(q);
    a.dk = room(k_size);
    a.dv = room(v);
    k.attention_backward(&a);
    keep("dq", a.dq, q);
    keep("dk", a.dk, k_size);
    keep("dv", a.dv, v);
    release();
}

static void attention_cases(void)
{
    static const attention_sizes sizes[] = {
        {1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0},
        {3, 5, 7, 4, 2, 3, 6, 0, 0, 0, 0, 3},
        {2, 60, 130, 2, 2, 17, 5, 1, 0, 0, 1, 2},       /* two blocks of keys */
        {1, 150, 140, 4, 1, 16, 16, 1, 30, 0, 0, 1},
        {1, 50, 20, 1, 1, 64, 33, 0, 9, 0, 0, 0},       /* rows out of sight of all keys */
        {2, 33, 33, 2, 1, 8, 8, 0, 0, 0, 1, 5},
        {2, 131, 131, 1, 1, 5, 4, 1, 0, 1, 0, 2},
        {0, 3, 4, 1, 1, 2, 2, 0, 0, 0, 0, 0},
        {2, 0, 4, 1, 1, 2, 2, 0, 0, 0, 0, 0},
        {2, 3, 0, 1, 1, 2, 2, 0, 0, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) attention_case(&sizes[i], USUAL);
    for (int i = 1; i < 6; i++) attention_case(&sizes[i], WILD);
}

typedef struct {
    int cell, act, rec_act, B, T, I, H, sequences, reverse, masked, packed_steps, states, drop, bare;
} rnn_sizes;

/* The steps that a random mask leaves, as tdf_rnn has them; one row has none. */
static void list_steps(tdf_rnn *a)
{
    ptrdiff_t B = a->B, T = a->T, n = 0, size = (ptrdiff_t)sizeof(ptrdiff_t);
    ptrdiff_t *row = take(B * size), *starts = take((B + 1) * size), *steps = take(B * T * size);
    ptrdiff_t *count = take(B * size), *before = take((T + 2) * size);
    uint8_t *mask = bits_of(B * T);
    for (ptrdiff_t b = 0; b < B; b++) {
        count[b] = 0;
        for (ptrdiff_t t = 0; t < T; t++) count[b] += mask[b * T + t] &= b != B / 2;
    }
    for (ptrdiff_t c = T, at = 0; c >= 0; c--)          /* those with most steps first */
        for (ptrdiff_t b = 0; b < B; b++)
            if (count[b] == c) row[at++] = b;
    for (ptrdiff_t b = 0; b < B; b++) {
        starts[b] = n;
        for (ptrdiff_t t = 0; t < T; t++)
            if (mask[row[b] * T + (a->reverse ? T - 1 - t : t)]) steps[n++] = t;
    }
    starts[B] = n;
    before[0] = 0;
    for (ptrdiff_t t = 0; t <= T; t++) {
        before[t + 1] = before[t];
        for (ptrdiff_t b = 0; b < B; b++) before[t + 1] += count[b] > t;
    }
    a->rows_before = before;
    a->row = row;
    a->starts = starts;
    a->steps = steps;
}

static void rnn_case(const rnn_sizes *s, int profile)
{
    ptrdiff_t G = tdf_rnn_gates(s->cell), B = s->B, T = s->T, I = s->I, H = s->H;
    ptrdiff_t biases = tdf_rnn_biases(s->cell) * G * H, out = s->sequences ? B * T * H : B * H;
    int lstm = s->cell == TDF_LSTM;
    char text[80];
    snprintf(text, sizeof text, "rnn %d %d %d (%d,%d,%d,%d) %d%d%d%d%d%d%d", s->cell, s->act, s->rec_act,
             s->B, s->T,
             s->I, s->H, s->sequences, s->reverse, s->masked, s->packed_steps, s->states, s->drop, s->bare);
    begin(profile, text);
    tdf_rnn a = {.threads = threads, .cell = s->cell, .act = s->act, .rec_act = s->rec_act,
                 .sequences = s->sequences, .reverse = s->reverse, .mask_zero_output = s->drop, .B = B,
                 .T = T, .I = I, .H = H};
    a.x = filled(B * T * I, profile);
    real *weights = filled((I + H) * G * H, USUAL);
    for (ptrdiff_t i = 0; i < (I + H) * G * H; i++) weights[i] /= (real)(I + H);
    a.kernel = weights;
    a.recurrent = weights + I * G * H;
    a.bias = s->bare ? NULL : filled(biases, USUAL);
    if (s->masked) {
        list_steps(&a);
        a.packed_steps = s->packed_steps && s->sequences;
        if (a.packed_steps) out = a.starts[B] * H;
    }
    a.h0 = s->states ? filled(B * H, USUAL) : NULL;
    a.c0 = s->states && lstm ? filled(B * H, USUAL) : NULL;
    a.rec_drop = s->drop ? filled(B * H, UNIT) : NULL;
    a.packed = room(tdf_rnn_pack_size(&a));
    k.rnn_pack(&a);

    a.scratch = room(tdf_rnn_infer_size(&a));
    a.y = room(out);
    a.hT = s->bare ? NULL : room(B * H);
    a.cT = s->bare || !lstm ? NULL : room(B * H);
    k.rnn_forward(&a);
    keep("y of inference", a.y, out);
    keep("hT", a.hT, B * H);
    keep("cT", a.cT, B * H);

    a.y = room(out);
    a.tape = room(tdf_rnn_tape_size(&a));
    a.scratch = room(tdf_rnn_scratch_size(&a));
    k.rnn_forward(&a);
    keep("y", a.y, out);
    a.dy = filled(out, USUAL);
    a.dhT = s->states ? filled(B * H, USUAL) : NULL;
    a.dcT = s->states && lstm ? filled(B * H, USUAL) : NULL;
    a.dx = s->bare ? NULL : room(B * T * I);
    a.dkernel = room(I * G * H);
    a.drecurrent = room(H * G * H);
    a.dbias = s->bare ? NULL : room(biases);
    a.dh0 = s->states ? room(B * H) : NULL;
    a.dc0 = s->states && lstm ? room(B * H) : NULL;
    k.rnn_backward(&a);
    keep("dx", a.dx, B * T * I);
    keep("dkernel", a.dkernel, I * G * H);
    keep("drecurrent", a.drecurrent, H * G * H);
    keep("dbias", a.dbias, biases);
    keep("dh0", a.dh0, B * H);
    keep("dc0", a.dc0, B * H);
    release();
}

/* One of two layers over x, (9, 3, 5), with memory for both passes. */
static tdf_rnn rnn_of_pair(int cell, ptrdiff_t H, int reverse, const real *x)
{
    ptrdiff_t B = 9, T = 3, I = 5, G = tdf_rnn_gates(cell), biases = tdf_rnn_biases(cell) * G * H;
    tdf_rnn a = {.threads = threads, .cell = cell, .act = TDF_TANH, .rec_act = TDF_SIGMOID, .sequences = 1,
                 .reverse = reverse, .B = B, .T = T, .I = I, .H = H, .x = x};
    real *weights = filled((I + H) * G * H, USUAL);
    for (ptrdiff_t i = 0; i < (I + H) * G * H; i++) weights[i] /= (real)(I + H);
    a.kernel = weights;
    a.recurrent = weights + I * G * H;
    a.bias = filled(biases, USUAL);
    a.packed = room(tdf_rnn_pack_size(&a));
    k.rnn_pack(&a);
    a.tape = room(tdf_rnn_tape_size(&a));
    a.scratch = room(tdf_rnn_scratch_size(&a));
    a.y = room(B * T * H);
    a.dy = filled(B * T * H, USUAL);
    a.dx = room(B * T * I);
    a.dkernel = room(I * G * H);
    a.drecurrent = room(H * G * H);
    a.dbias = room(biases);
    return a;
}

static void rnn_pair_case(int cell, int other)
{
    char text[80];
    snprintf(text, sizeof text, "rnn pair %d %d", cell, other);
    begin(USUAL, text);
    const real *x = filled(9 * 3 * 5, USUAL);
    tdf_rnn_pair p = {rnn_of_pair(cell, 33, 0, x), rnn_of_pair(other, 18, 1, x)};
    k.rnn_pair_forward(&p);
    k.rnn_pair_backward(&p);
    for (int i = 0; i < 2; i++) {
        const tdf_rnn *a = i ? &p.other : &p.one;
        ptrdiff_t width = tdf_rnn_gates(a->cell) * a->H;
        keep("y", a->y, a->B * a->T * a->H);
        keep("dx", a->dx, a->B * a->T * a->I);
        keep("dkernel", a->dkernel, a->I * width);
        keep("drecurrent", a->drecurrent, a->H * width);
        keep("dbias", a->dbias, tdf_rnn_biases(a->cell) * width);
    }
    release();
}

static void rnn_cases(void)
{
    static const int acts[][2] = {{TDF_TANH, TDF_SIGMOID}, {TDF_GELU, TDF_HARD_SIGMOID},
                                  {TDF_SOFTSIGN, TDF_SOFTMAX}};
    static const int sizes[][4] = {{1, 1, 1, 1}, {3, 5, 3, 4}, {13, 4, 15, 33}, {8, 3, 5, 70}};
    for (int cell = 0; cell < TDF_CELLS; cell++)
        for (int f = 0; f < 3; f++)
            for (int i = 0; i < 4; i++)
                /* plain; with all there is; masked backwards; bare; the steps that count alone */
                for (int v = 0; v < 5; v++) {
                    rnn_sizes s = {cell, acts[f][0], acts[f][1], sizes[i][0], sizes[i][1], sizes[i][2],
                                   sizes[i][3], .sequences = v != 3, .reverse = v == 2,
                                   .masked = v == 1 || v == 2 || v == 4, .packed_steps = v == 4,
                                   .states = v == 1,
                                   .drop = v == 1, .bare = v == 3};
                    rnn_case(&s, USUAL);
                    if (i == 1) rnn_case(&s, WILD);
                }
    /* units over threads, and products in parts, of more rows than one part has */
    for (int cell = TDF_GRU; cell <= TDF_LSTM; cell++)
        for (int rows = 9; rows <= 53; rows += 44) {
            rnn_sizes large = {cell, TDF_TANH, TDF_SIGMOID, rows, 2, 20, 130, .sequences = 1};
            rnn_case(&large, USUAL);
        }
    for (int cell = 0; cell < TDF_CELLS; cell++) rnn_pair_case(cell, TDF_LSTM);
}

static void loss_case(int loss, ptrdiff_t M, ptrdiff_t N, int plain, int profile)
{
    char text[80];
    snprintf(text, sizeof text, "loss %d (%d,%d)%s", loss, (int)M, (int)N, plain ? " plain" : "");
    begin(profile, text);
    int sparse = loss == TDF_LOSS_SPARSE || loss == TDF_LOSS_SPARSE_LOGITS || loss == TDF_LOSS_MATCH_SPARSE;
    int probable = loss == TDF_LOSS_POISSON || loss == TDF_LOSS_MSLE || loss == TDF_LOSS_KL
        || loss == TDF_LOSS_BINARY
                   || loss == TDF_LOSS_CATEGORICAL || loss == TDF_LOSS_SPARSE;
    tdf_loss a = {.threads = threads, .loss = loss, .M = M, .N = N, .scale = 0.37, .delta = 0.8,
                  .epsilon = 1e-7,
                  .smoothing = plain ? 0 : 0.1};
    double result[2] = {NAN, NAN};
    if (sparse) {
        int32_t *labels = take(M * 4);
        for (ptrdiff_t i = 0; i < M; i++)
            labels[i] = next() % 8 == 0 ? TDF_IGNORED
                : next() % 16 == 0 && profile == WILD ? -3 : (int32_t)(next() % (uint64_t)N);
        a.labels = labels;
    } else {
        a.target = filled(M * N, profile == WILD ? WILD : UNIT);
    }
    a.p = filled(M * N, profile == WILD ? WILD : probable ? UNIT : USUAL);
    a.weight = plain ? NULL : filled(M, UNIT);
    a.level = loss == TDF_LOSS_QUANTILE ? filled(N, UNIT) : NULL;
    a.rows = room(M);
    a.dp = plain || loss >= TDF_LOSS_MATCH_BINARY ? NULL : room(M * N);       /* a match has no gradient */
    a.result = result;
    k.loss(&a);
    keep("rows", a.rows, M);
    keep("dp", a.dp, M * N);
    keep_double("sum", result[0]);
    keep_double("bad", result[1]);
    release();
}

static void loss_cases(void)
{
    static const int sizes[][2] = {{1, 1}, {41, 3}, {7, 64}, {6, 65}, {5, 130}, {0, 3}};
    for (int loss = 0; loss < TDF_LOSSES; loss++)
        for (int i = 0; i < 6; i++)
            for (int profile = USUAL; profile <= WILD; profile += WILD)
                for (int plain = 0; plain < 2; plain++)
                    loss_case(loss, sizes[i][0], sizes[i][1], plain, profile);
}

static void optim_case(int rule, ptrdiff_t n, int slots, int profile)
{
    char text[80];
    snprintf(text, sizeof text, "rule %d (%d) %d slots", rule, (int)n, slots);
    begin(profile, text);
    real *w = filled(n, profile), *grad = filled(n, profile);
    tdf_optim a = {.threads = threads, .rule = rule, .n = n, .w = w, .grad = grad,
                   .number = {0.01, 0.1, 0.02, 0.3, 0.04, 0.05},
                   .decay = slots ? 0.001 : 0, .clip = slots ? 1.5 : 0, .grad_scale = slots ? 0.5 : 1};
    if (rule == TDF_FTRL && slots == 1) a.number[1] = 0.5;
    for (int i = 0; i < slots; i++) a.slot[i] = filled(n, profile == WILD ? WILD : UNIT);
    if (rule == TDF_LAMB && slots == TDF_SLOTS) a.slot[2] = grad;
    k.optim_step(&a);
    keep("w", w, n);
    for (int i = 0; i < slots; i++) keep("slot", a.slot[i], n);
    release();
}

static void optim_cases(void)
{
    for (int rule = 0; rule < TDF_RULES; rule++)
        for (int slots = 0; slots <= TDF_SLOTS; slots++)
            for (int profile = USUAL; profile <= WILD; profile += WILD) {
                optim_case(rule, 1, slots, profile);
                optim_case(rule, 333, slots, profile);
            }
}

static void norm_cases(void)
{
    static const int sizes[] = {0, 1, 100, 4096, 10001};
    for (int i = 0; i < 5; i++)
        for (int profile = USUAL; profile <= WILD; profile += WILD) {
            char text[80];
            snprintf(text, sizeof text, "norm (%d)", sizes[i]);
            begin(profile, text);
            ptrdiff_t n = sizes[i];
            double sum = NAN;
            tdf_norm a = {.threads = threads, .n = n, .grad = filled(n, profile), .factor = 0.7,
                          .result = &sum,
                          .partial = take((n + 4095) / 4096 * (ptrdiff_t)sizeof(double))};
            k.sum_squares(&a);
            keep_double("sum", sum);
            k.scale(&a);
            keep("grad", a.grad, n);
            release();
        }
}

static void sums_cases(void)
{
    static const int sizes[][2] = {{1, 1}, {31, 5}, {200, 33}, {0, 7}};
    for (int i = 0; i < 4; i++)
        for (int profile = USUAL; profile <= WILD; profile += WILD) {
            char text[80];
            snprintf(text, sizeof text, "sums (%d,%d)", sizes[i][0], sizes[i][1]);
            begin(profile, text);
            ptrdiff_t M = sizes[i][0], N = sizes[i][1];
            tdf_sums a = {.threads = threads, .M = M, .N = N, .x = filled(M * N, profile),
                          .scratch = room(tdf_sums_scratch_size(N)),
                          .sums = room(N)};
            k.column_sums(&a);
            keep("sums", a.sums, N);
            release();
        }
}

static void blend_cases(void)
{
    static const int sizes[][3] = {{1, 1, 1}, {3, 5, 7}, {2, 4, 33}, {1, 1, 300}, {5, 1, 16}, {0, 3, 4}};
    for (int i = 0; i < 6; i++)
        for (int rule = 0; rule < TDF_BLENDS; rule++)
            for (int profile = USUAL; profile <= WILD; profile += WILD) {
                char text[80];
                ptrdiff_t P = sizes[i][0], Q = sizes[i][1], N = sizes[i][2], wide = N + 3;
                snprintf(text, sizeof text, "blend %d (%d,%d,%d)", rule, (int)P, (int)Q, (int)N);
                begin(profile, text);
                tdf_blend a = {.threads = threads, .rule = rule, .P = P, .Q = Q, .N = N,
                               .x_outer = Q * N, .x_inner = -N, .y_outer = Q * wide, .y_inner = wide};
                /* turned round, into parts of wider rows */
                a.x = filled(P * Q * N, profile) + (P ? (Q - 1) * N : 0);
                real *whole = filled(P * Q * wide, USUAL);
                a.y = whole + 2;
                k.blend(&a);
                keep("y", whole, P * Q * wide);
                release();
            }
}

static void layer_norm_case(ptrdiff_t M, ptrdiff_t N, int bare, int profile)
{
    char text[80];
    snprintf(text, sizeof text, "layer norm (%d,%d)%s", (int)M, (int)N, bare ? " bare" : "");
    begin(profile, text);
    tdf_layer_norm a = {.threads = threads, .M = M, .N = N, .epsilon = 0.001};
    a.x = filled(M * N, profile);
    a.gamma = bare ? NULL : filled(N, USUAL);
    a.beta = bare ? NULL : filled(N, USUAL);
    a.y = room(M * N);
    k.layer_norm_forward(&a);
    keep("y of inference", a.y, M * N);
    a.normal = room(M * N);
    a.inverse = room(M);
    a.y = room(M * N);
    k.layer_norm_forward(&a);
    keep("y", a.y, M * N);
    a.scratch = room(tdf_layer_norm_scratch_size(N));
    a.dy = filled(M * N, profile);
    a.dx = bare ? NULL : room(M * N);
    a.dgamma = bare ? NULL : room(N);
    a.dbeta = room(N);
    k.layer_norm_backward(&a);
    keep("dx", a.dx, M * N);
    keep("dgamma", a.dgamma, N);
    keep("dbeta", a.dbeta, N);
    release();
}

static void layer_norm_cases(void)
{
    static const int sizes[][2] = {{1, 1}, {41, 3}, {7, 64}, {100, 17}, {0, 3}};
    for (int i = 0; i < 5; i++)
        for (int profile = USUAL; profile <= WILD; profile += WILD)
            for (int bare = 0; bare < 2; bare++) layer_norm_case(sizes[i][0], sizes[i][1], bare, profile);
}

static void noise_cases(void)
{
    static const int sizes[][3] = {{1, 1, 1}, {41, 1, 3}, {7, 9, 64}, {100, 3, 17}, {0, 3, 5}};
    for (int i = 0; i < 5; i++)
        for (int profile = USUAL; profile <= WILD; profile += WILD) {
            char text[80];
            ptrdiff_t B = sizes[i][0], T = sizes[i][1], N = sizes[i][2];
            snprintf(text, sizeof text, "noise (%d,%d,%d)", (int)B, (int)T, (int)N);
            begin(profile, text);
            uint32_t *state = take(2 * sizeof(uint32_t));
            state[0] = 4000000007u;
            state[1] = 0xffffffffu;
            tdf_dropout d = {.n = B * N, .state = state, .threshold = 1u << 30, .kept = 4.0 / 3,
                             .factors = room(B * N)};
            k.dropout(&d);
            keep("factors", d.factors, B * N);
            keep_double("count", state[1]);
            tdf_product a = {.threads = threads, .B = B, .T = T, .N = N, .x = filled(B * T * N, profile),
                             .factors = d.factors, .y = room(B * T * N)};
            k.multiply(&a);
            keep("y", a.y, B * T * N);
            release();
        }
}

static void embed_case(ptrdiff_t M, ptrdiff_t V, ptrdiff_t D, int bad, int profile)
{
    char text[80];
    snprintf(text, sizeof text, "embed (%d,%d,%d) %d", (int)M, (int)V, (int)D, bad);
    begin(profile, text);
    ptrdiff_t found = 77;
    int32_t *ids = take(M * 4);
    for (ptrdiff_t i = 0; i < M; i++) ids[i] = (int32_t)(next() % (uint64_t)V);
    tdf_embed a = {.threads = threads, .M = M, .V = V, .D = D, .ids = ids, .table = filled(V * D, profile),
                   .y = room(M * D),
                   .dtable = room(V * D), .bad = &found};
    if (bad) {
        ids[M / 2] = bad < 0 ? -1 : (int32_t)V;
        k.embed_forward(&a);
        keep_double("bad", (double)found);
    } else {
        k.embed_forward(&a);
        keep_double("bad", (double)found);
        keep("y", a.y, M * D);
        a.dy = filled(M * D, profile);
        k.embed_backward(&a);
        keep("dtable", a.dtable, V * D);
    }
    release();
}

static void embed_cases(void)
{
    for (int profile = USUAL; profile <= WILD; profile += WILD) {
        embed_case(1, 1, 1, 0, profile);
        embed_case(37, 9, 33, 0, profile);
        embed_case(100, 7, 4, 0, profile);
        embed_case(0, 3, 5, 0, profile);
    }
    embed_case(20, 9, 5, -1, USUAL);
    embed_case(20, 9, 5, 1, USUAL);
}

static void masking_cases(void)
{
    for (int profile = USUAL; profile <= WILD; profile += WILD) {
        begin(profile, "masking");
        ptrdiff_t M = 23, N = 5;
        real *x = filled(M * N, profile);
        for (ptrdiff_t i = 0; i < M * N; i += 3 * N)
            for (ptrdiff_t j = 0; j < N; j++) x[i + j] = (real)0.25;
        uint8_t *mask = take(M);
        tdf_masking a = {.threads = threads, .M = M, .N = N, .value = 0.25, .x = x, .mask = mask,
                         .y = room(M * N)};
        k.masking_forward(&a);
        keep("y", a.y, M * N);
        for (ptrdiff_t i = 0; i < M; i++) keep_double("mask", mask[i]);
        a.y = filled(M * N, profile);
        k.masking_backward(&a);
        keep("dx", a.y, M * N);
        release();
    }
}

static int64_t *ends_of(ptrdiff_t M, ptrdiff_t most)
{
    int64_t *ends = take((M + 1) * 8);
    ends[0] = 0;
    for (ptrdiff_t m = 0; m < M; m++) ends[m + 1] = ends[m] + (int64_t)(next() % (uint64_t)(most + 1));
    return ends;
}

static void text_case(ptrdiff_t M, ptrdiff_t most, int options)
{
    begin(USUAL, "text");
    int64_t *ends = ends_of(M, most);
    ptrdiff_t size = (ptrdiff_t)ends[M], room = (size + M) / 2, bytes = size / 2;
    uint8_t *text = take(size);
    for (ptrdiff_t i = 0; i < size; i++) text[i] = (uint8_t)" \taAbB.-\xc3"[next() % 9];
    uint64_t *hashes = take(M * 8);
    tdf_hash h = {.threads = threads, .salted = options & 1, .k0 = 133, .k1 = 137, .M = M, .text = text,
                  .ends = ends, .hash = hashes};
    k.text_hash(&h);
    for (ptrdiff_t m = 0; m < M; m++) keep_double("hash", (double)hashes[m]);
    tdf_words w = {.lower = options & 1, .strip = options >> 1 & 1, .M = M,
                   .most = options & 4 ? 2 : PTRDIFF_MAX, .text = text, .ends = ends, .words = take(size),
                   .word_ends = take((room + 1) * 8), .counts = take(M * 8)};
    k.text_words(&w);
    ptrdiff_t words = 0, known = 0, done = 0;
    for (ptrdiff_t m = 0; m < M; m++) {
        keep_double("count", (double)w.counts[m]);
        words += (ptrdiff_t)w.counts[m];
    }
    uint64_t *table = take(64 * 8);
    int64_t *known_ends = take(32 * 8);
    memset(table, 0, 64 * 8);
    known_ends[0] = 0;
    tdf_vocabulary v = {.threads = threads, .grow = 1, .M = words, .words = w.words, .word_ends = w.word_ends,
                        .ids = take(words * 8), .slots = 64, .table = table, .room = 31, .bytes = bytes,
                        .known = take(bytes), .known_ends = known_ends, .size = &known, .done = &done};
    k.text_find(&v);
    keep_double("known", (double)known);
    keep_double("done", (double)done);
    v.grow = 0;
    k.text_find(&v);
    for (ptrdiff_t m = 0; m < words; m++) keep_double("id", (double)v.ids[m]);
    release();
}

static void text_cases(void)
{
    for (int options = 0; options < 8; options++) {
        text_case(0, 1, options);
        text_case(1, 1, options);
        text_case(9, 40, options);
        text_case(70, 200, options);
    }
}

static results run(const tdf_table *table, int n_threads)
{
    results all = {0};
    inner = table;
    threads = n_threads;
    now = &all;
    memset(calls, 0, sizeof calls);
    act_cases();
    dense_cases();
    conv_cases();
    pool_cases();
    attention_cases();
    rnn_cases();
    loss_cases();
    optim_cases();
    norm_cases();
    sums_cases();
    blend_cases();
    layer_norm_cases();
    noise_cases();
    embed_cases();
    masking_cases();
    text_cases();
    for (int i = 0; i < KERNELS; i++)
        if (!calls[i]) fail("no case calls this kernel", titles[i]);
    return all;
}

/* ------------------------------------------------------------------ comparisons */

static int failures;

static void differs(const char *what, const char *against, const result *r, ptrdiff_t i, double a, double b)
{
    if (failures++ < 20)
        printf("%s against %s: %s[%td] is %.9g (%a), not %.9g (%a)\n", what, against, r->name, i, a, a, b, b);
}

static void same_bits(const char *what, const results *a, const char *against, const results *b)
{
    if (a->n != b->n) fail("number of results", what);
    for (ptrdiff_t j = 0; j < a->n; j++)
        if (hash(&a->r[j]) != hash(&b->r[j]))
            for (ptrdiff_t i = 0; i < a->r[j].n; i++)
                if (memcmp(a->r[j].v + i, b->r[j].v + i, 8) != 0) {
                    differs(what, against, &a->r[j], i, a->r[j].v[i], b->r[j].v[i]);
                    break;
                }
}

static double near(const char *what, const results *a, const char *against, const results *b)
{
    double worst = 0;
    for (ptrdiff_t j = 0; j < a->n; j++) {
        if (!a->r[j].near) continue;
        double largest = 1e-30, error = 0;
        ptrdiff_t at = 0;
        for (ptrdiff_t i = 0; i < a->r[j].n; i++) largest = fmax(largest, fabs(b->r[j].v[i]));
        for (ptrdiff_t i = 0; i < a->r[j].n; i++) {
            double e = fabs(a->r[j].v[i] - b->r[j].v[i]) / largest;
            if (!(e <= error)) error = e, at = i;
        }
        if (!(error <= NEAR * nearer[precision]))
            differs(what, against, &a->r[j], at, a->r[j].v[at], b->r[j].v[at]);
        worst = fmax(worst, error);
    }
    return worst;
}

static const tdf_table *table_at(int i)
{
#ifdef TDF_F64
    return i ? NULL : tdf_float64();
#else
    return tdf_isa(i, precision);
#endif
}

static void check_precision(void)
{
    results fused = {0};
    const char *fused_name = NULL;
    int last = 0, most = precision == TDF_HIGHEST ? MOST_THREADS : 2;
    while (table_at(last + 1)) last++;
    for (int i = last; i >= 0; i--) {               /* the best first: the others are held to it */
        const tdf_table *table = table_at(i);
        results one = run(table, 1);
        printf("%s%s: %td results", table->name, precisions[precision], one.n);
        for (int n = 2; n <= most; n++) {
            char what[40];
            snprintf(what, sizeof what, "%s on %d threads", table->name, n);
            results more = run(table, n);
            same_bits(what, &more, "1", &one);
            forget(&more);
        }
        printf(", the same bits on 1 to %d threads", most);
        if (!fused_name) {
            printf("\n");
            fused = one;
            fused_name = table->name;
            continue;
        }
        if (strcmp(table->name, "baseline") == 0) {
            printf(", within %.1e of %s\n", near(table->name, &one, fused_name, &fused), fused_name);
        } else {
            same_bits(table->name, &one, fused_name, &fused);
            printf(", the same bits as %s\n", fused_name);
        }
        forget(&one);
    }
    forget(&fused);
}

static int check(void)
{
#if defined(TDF_F64) || defined(TDF_HIGHEST_ALONE)
    check_precision();
#else
    for (precision = 0; precision < TDF_PRECISIONS; precision++) check_precision();
#endif
    if (failures) printf("%d results differ\n", failures);
    return failures != 0;
}

static int list(const char *isa)
{
    int found = 0;
    for (precision = 0; precision < TDF_PRECISIONS; precision++)
        for (int i = 0; table_at(i); i++) {
            if (strcmp(table_at(i)->name, isa) != 0) continue;
            results all = run(table_at(i), 2);
            for (ptrdiff_t j = 0; j < all.n; j++)
                printf("%s%s %td %016llx\n", all.r[j].name, precisions[precision], all.r[j].n,
                       (unsigned long long)hash(&all.r[j]));
            forget(&all);
            found = 1;
        }
    if (!found) fail("this processor has no instruction set", isa);
    return 0;
}

static void *call_act(void *a)
{
    table_at(0)->act_forward(a);
    return NULL;
}

/* Each of these must end in a checker's report; without the checker it does no harm that shows. */
static int fault(const char *kind)
{
    const tdf_table *table = table_at(0);
    ptrdiff_t n = 4096;
    real *x = malloc((size_t)n * sizeof *x), *y = malloc((size_t)n * sizeof *y);
    if (!x || !y) fail("memory", kind);
    if (strcmp(kind, "uninitialised") != 0)
        for (ptrdiff_t i = 0; i < n; i++) x[i] = (real)i;
    tdf_act a = {.threads = 1, .act = TDF_RELU, .M = 1, .N = n, .x = x, .y = y};
    if (strcmp(kind, "heap") == 0) a.N = n + 1;
    if (strcmp(kind, "undefined") == 0)
        printf("%td\n", tdf_dense_pack_size(PTRDIFF_MAX / 2, PTRDIFF_MAX / 2));
    pthread_t other;
    int two = strcmp(kind, "race") == 0 && pthread_create(&other, NULL, call_act, &a) == 0;
    table->act_forward(&a);
    if (two) pthread_join(other, NULL);
    if (y[n / 2] > 0) printf("done\n");
    free(x);
    free(y);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 1) return check();
    if (argc == 3 && strcmp(argv[1], "list") == 0) return list(argv[2]);
    if (argc == 3 && strcmp(argv[1], "fault") == 0) return fault(argv[2]);
    fail("usage", "kernels | kernels list ISA | kernels fault KIND");
    return 2;
}
