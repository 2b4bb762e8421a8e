/* layer_norm.c - rows brought to mean 0 and variance 1, then times gamma plus beta; and back. */
#include "act.h"
#include "span.h"

/* Operations an element; there is less arithmetic than waiting for memory. */
#define OPERATIONS 16.0

/* for each vector of a row: its place `at`, how many lanes `left`, and its accumulator `s` */
#define EACH_VECTOR(N)                                                                             \
    for (ptrdiff_t i = 0; i < (N); i += PANEL)                                                     \
        for (ptrdiff_t s = 0, at = i, left = (N) - i; s < PANEL / VL && left > 0; s++, at += VL, left -= VL)

/* 1 / sqrt(mean square of c + epsilon). Squares that leave the dtype are taken of c / largest: epsilon is
 * nothing beside them. */
static real inverse_of(ptrdiff_t N, const real *c, real epsilon)
{
    v16 sum = v16_set1(0), most = v16_set1(0);
    EACH_VECTOR(N) sum.v[s] = v_fma(v_get(c + at, left), v_get(c + at, left), sum.v[s]);
    real squares = v16_sum(sum);
    vf one = v_set1(1);
    if (squares < INFINITY) return act_first_lane(v_div(one, v_sqrt(v_set1(squares / (real)N + epsilon))));
    EACH_VECTOR(N) most.v[s] = v_max(v_abs(v_get(c + at, left)), most.v[s]);
    vf largest = v_set1(v16_max(most));
    sum = v16_set1(0);
    EACH_VECTOR(N)
    {
        vf u = v_div(v_get(c + at, left), largest);
        sum.v[s] = v_fma(u, u, sum.v[s]);
    }
    return act_first_lane(v_div(v_div(one, v_sqrt(v_set1(v16_sum(sum) / (real)N))), largest));
}

static void forward_rows(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_layer_norm *a = args;
    ptrdiff_t N = a->N;
    (void)part;
    for (ptrdiff_t m = lo; m < hi; m++) {
        const real *x = a->x + m * N;
        real *y = a->y + m * N, *normal = a->normal ? a->normal + m * N : y;
        v16 sum = v16_set1(0);
        EACH_VECTOR(N) sum.v[s] = v_add(sum.v[s], v_get(x + at, left));
        vf mean = v_set1(v16_sum(sum) / (real)N);
        EACH_VECTOR(N) v_put(normal + at, v_sub(v_get(x + at, left), mean), left);
        real inverse = inverse_of(N, normal, (real)a->epsilon);
        if (a->inverse) a->inverse[m] = inverse;
        EACH_VECTOR(N)
        {
            vf v = v_mul(v_get(normal + at, left), v_set1(inverse));
            v_put(normal + at, v, left);
            if (a->gamma) v = v_mul(v, v_get(a->gamma + at, left));
            if (a->beta) v = v_add(v, v_get(a->beta + at, left));
            v_put(y + at, v, left);
        }
    }
}

void TDF_NAME(layer_norm_forward)(const tdf_layer_norm *a)
{
    span_run(forward_rows, a, a->M, 1, span_threads(OPERATIONS * (double)a->M * (double)a->N, a->threads));
}

/* Parts lo..hi of the rows: their dx, and their sums for dgamma and dbeta. */
static void backward_parts(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_layer_norm *a = args;
    ptrdiff_t N = a->N;
    (void)part;
    for (ptrdiff_t q = lo; q < hi; q++) {
        real *dgamma = a->scratch + q * 2 * N, *dbeta = dgamma + N;
        memset(dgamma, 0, (size_t)(2 * N) * sizeof(real));
        for (ptrdiff_t m = q * a->M / SUMS_PARTS; m < (q + 1) * a->M / SUMS_PARTS; m++) {
            const real *dy = a->dy + m * N, *normal = a->normal + m * N;
            v16 sum = v16_set1(0), along = v16_set1(0);
            EACH_VECTOR(N)
            {
                vf d = v_get(dy + at, left), n = v_get(normal + at, left);
                v_put(dbeta + at, v_add(v_get(dbeta + at, left), d), left);             /* y = v + beta */
                v_put(dgamma + at, v_fma(d, n, v_get(dgamma + at, left)), left);        /* v = normal gamma */
                if (a->gamma) d = v_mul(d, v_get(a->gamma + at, left));
                sum.v[s] = v_add(sum.v[s], d);
                along.v[s] = v_fma(d, n, along.v[s]);
            }
            if (!a->dx) continue;
            vf mean = v_set1(v16_sum(sum) / (real)N), slope = v_set1(v16_sum(along) / (real)N);
            vf inverse = v_set1(a->inverse[m]);
            EACH_VECTOR(N)              /* normal = (x - mean) inverse, and both are made of x */
            {
                vf d = v_get(dy + at, left);
                if (a->gamma) d = v_mul(d, v_get(a->gamma + at, left));
                d = v_fnma(v_get(normal + at, left), slope, v_sub(d, mean));
                v_put(a->dx + m * N + at, v_mul(d, inverse), left);
            }
        }
    }
}

void TDF_NAME(layer_norm_backward)(const tdf_layer_norm *a)
{
    double work = 2 * OPERATIONS * (double)a->M * (double)a->N;
    span_run(backward_parts, a, SUMS_PARTS, 1, span_threads(work, a->threads));
    unsigned long mode = v_enter_mode();
    real *sums = a->scratch;
    for (ptrdiff_t q = 1; q < SUMS_PARTS; q++) v_add_to(sums, sums + q * 2 * a->N, 2 * a->N);
    if (a->dgamma) memcpy(a->dgamma, sums, (size_t)a->N * sizeof(real));
    if (a->dbeta) memcpy(a->dbeta, sums + a->N, (size_t)a->N * sizeof(real));
    v_leave_mode(mode);
}
