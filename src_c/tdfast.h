/* tdfast.h - the whole C API: one struct per kernel family, each field with its shape, and one
 * function per kernel.
 *
 * Kernels cannot fail: they never allocate, print or read the environment. The caller checks every
 * shape and owns all memory. Every function takes one pointer to its struct. Each kernel is built
 * once per ISA and reached through the table of dispatch.c.
 *
 * Sizes: B batch, T time, I input, H hidden, M rows, N columns, K summed. All arrays are C-contiguous
 * unless a stride is given; strides count elements. Arrays marked [opt] may be NULL.
 */
#ifndef TDFAST_H
#define TDFAST_H

#include <stddef.h>
#include <stdint.h>

#if PTRDIFF_MAX < INT64_MAX
#error "tdfast needs a 64-bit machine"
#endif
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tdfast needs a little-endian machine"
#endif

#undef I                        /* of complex.h, which NumPy includes: it is a size here */

#ifdef TDF_F64
typedef double real;
#else
typedef float real;
#endif

#include "activations.h"
#include "cells.h"
#include "losses.h"
#include "rules.h"

/* An activation over rows: y = f(x), and dx = dy f'(x).  eltwise.c */
typedef struct {
    int threads;
    int act;                    /* tdf_activation */
    ptrdiff_t M, N;
    const real *x;              /* (M, N) before the activation */
    real *y;                    /* (M, N) after it */
    const real *dy;             /* (M, N) */
    real *dx;                   /* (M, N); may be dy */
} tdf_act;

/* Rows times a matrix: y = act(x kernel + bias), all B*T rows of a time-distributed Dense at once.
 * dense.c */
typedef struct {
    int threads;
    int act;                    /* tdf_activation */
    ptrdiff_t M, K, N;
    const real *x;              /* (M, K) */
    const real *kernel;         /* (K, N) */
    const real *bias;           /* (N) [opt] */
    real *z;                    /* (M, N) before the activation [opt: inference; NULL where act is linear] */
    real *y;                    /* (M, N) */
    real *packed;               /* dense_pack_size: written by dense_pack, read by forward */
    real *scratch;              /* dense_scratch_size: backward only */
    real *dz;                   /* (M, N) backward only: dy f'(z) goes here; may be dy */
    const real *dy;             /* (M, N) */
    real *dx;                   /* (M, K) [opt] */
    real *dkernel;              /* (K, N) */
    real *dbias;                /* (N) [opt] */
} tdf_dense;

/* A convolution of N volumes with the channels last; one of images has depth 1, one of sequences height 1 as
 * well. An element of the output is called a pixel.  conv.c
 *
 * conv_transpose goes the other way: from dy, which is its input and is only read, to z [opt: linear, or not
 * needed by backward] and y, both (N, D, H, W, C), with bias (C). Its derivatives are conv_forward of dz, and
 * conv_backward with dz for x and act linear. */
typedef struct {
    int threads;
    int act;                    /* tdf_activation */
    ptrdiff_t groups;           /* divides C and F; each group of filters sees its own channels */
    ptrdiff_t N, D, H, W, C;    /* volumes, depth, height, width, channels */
    ptrdiff_t F, kd, kh, kw;    /* filters, and their depth, height and width */
    ptrdiff_t sd, sh, sw;       /* strides */
    ptrdiff_t dd, dh, dw;       /* dilation */
    ptrdiff_t front, top, left; /* zeros before the first plane, above and to the left */
    ptrdiff_t Dp, Hp, Wp;       /* the volume with all its zeros around it */
    ptrdiff_t Do, Ho, Wo;       /* output */
    const real *x;              /* (N, D, H, W, C) */
    const real *kernel;         /* (kd, kh, kw, C / groups, F) */
    const real *bias;           /* (F) [opt] */
    real *z;                    /* (N, Do, Ho, Wo, F) before the activation [opt: one that backward knows by
                                 * y; NULL: linear] */
    real *y;                    /* (N, Do, Ho, Wo, F) */
    real *packed;               /* tdf_conv_pack_size: written by conv_pack, read by forward */
    real *scratch;              /* tdf_conv_infer_size of forward, tdf_conv_scratch_size of backward */
    real *dy;                   /* (N, Do, Ho, Wo, F); overwritten */
    real *dx;                   /* (N, D, H, W, C) [opt] */
    real *dkernel;              /* as kernel */
    real *dbias;                /* (F) [opt] */
} tdf_conv;

/* sums[j] = sum over i of x[i, j], in parts of as many rows each.  eltwise.c */
#define SUMS_PARTS 32
typedef struct {
    int threads;
    ptrdiff_t M, N;
    const real *x;              /* (M, N) */
    real *scratch;              /* tdf_sums_scratch_size */
    real *sums;                 /* (N) */
} tdf_sums;

/* y = x, y + x or y x, of P times Q rows of N numbers that stand anywhere in both; no two rows of y share
 * memory, nor does y with x, unless it is x.  eltwise.c */
enum { TDF_BLEND_COPY, TDF_BLEND_ADD, TDF_BLEND_MULTIPLY, TDF_BLENDS };

typedef struct {
    int threads;
    int rule;                   /* TDF_BLEND_... */
    ptrdiff_t P, Q, N;
    const real *x;              /* row (p, q) begins at x + p x_outer + q x_inner */
    ptrdiff_t x_outer, x_inner;
    real *y;
    ptrdiff_t y_outer, y_inner;
} tdf_blend;

/* Rows brought to mean 0 and variance 1: y = normal gamma + beta.  layer_norm.c */
typedef struct {
    int threads;
    ptrdiff_t M, N;
    double epsilon;             /* added to the variance */
    const real *x;              /* (M, N) */
    const real *gamma, *beta;   /* (N) [opt: ones, zeros] */
    real *normal;               /* (M, N) (x - mean) inverse [opt: inference] */
    real *inverse;              /* (M) 1 / sqrt(variance + epsilon) [opt: inference] */
    real *y;                    /* (M, N) */
    real *scratch;              /* tdf_layer_norm_scratch_size: backward only */
    const real *dy;             /* (M, N) */
    real *dx;                   /* (M, N) [opt] */
    real *dgamma, *dbeta;       /* (N) [opt] */
} tdf_layer_norm;

/* The largest or the mean value of windows of N volumes, channels last; images have depth 1.  pool.c */
typedef struct {
    int threads;
    int mean;                   /* the mean instead of the maximum */
    int adaptive;               /* window i of n along an axis goes from i / n of it to (i + 1) / n, rounded
                                 * outwards; window, strides and reach are not used */
    ptrdiff_t N, D, H, W, C;    /* volumes, depth, height, width, channels */
    ptrdiff_t kd, kh, kw;       /* the window */
    ptrdiff_t sd, sh, sw;       /* its strides */
    ptrdiff_t front, top, left; /* how far the first window reaches out of the volume */
    ptrdiff_t Do, Ho, Wo;       /* output */
    const real *x;              /* (N, D, H, W, C) [backward of the mean: not used] */
    const uint8_t *mask;        /* (N, D, H, W), 0: takes no part in a mean [opt] */
    real *y;                    /* (N, Do, Ho, Wo, C) [backward of the mean: not used] */
    const real *dy;             /* (N, Do, Ho, Wo, C) */
    real *dx;                   /* (N, D, H, W, C) */
} tdf_pool;

/* A whole recurrent layer over all time steps: G gates in Keras's order, 4 of an LSTM (i, f, c, o), 3 of
 * a GRU (z, r, h), 1 of a simple RNN.  rnn.c; rnn_layout.h divides its memory */
typedef struct {
    int threads;
    int cell;                   /* tdf_cell */
    int act, rec_act;           /* tdf_activation of the state and of the gates */
    int sequences;              /* y holds every step, or the last alone */
    int reverse;                /* run from the last step to the first (go_backwards) */
    int mask_zero_output;       /* a masked step's output is 0 instead of the output before it */
    ptrdiff_t B, T, I, H;
    const real *x;              /* (B, T, I) */
    /* A mask [opt: row is NULL, the others are not read]: the rows with most steps come first. */
    const ptrdiff_t *row;       /* (B) the caller's row of each row b */
    const ptrdiff_t *starts;    /* (B+1) where the steps of row b begin in `steps`; then their number, n */
    const ptrdiff_t *steps;     /* (n) the steps of each row that count, ascending, as they run */
    const ptrdiff_t *rows_before;   /* (T+2) how many rows have a step 0, 1, ..., t - 1, added up */
    int packed_steps;           /* y and dy are (n, H), of the steps that count, in the order of `steps` */
    const real *kernel;         /* (I, G H) */
    const real *recurrent;      /* (H, G H) */
    const real *bias;           /* (G H), or (2, G H) of TDF_GRU: of x W and of h U [opt] */
    const real *h0, *c0;        /* (B, H); c0 of an LSTM [opt: zeros] */
    const real *rec_drop;       /* (B, H) factors on h before the recurrent product [opt] */
    real *packed;               /* tdf_rnn_pack_size: written by pack */
    real *tape;                 /* tdf_rnn_tape_size [opt: inference]; backward overwrites it */
    real *scratch;              /* tdf_rnn_scratch_size with a tape, tdf_rnn_infer_size without */
    real *y;                    /* (B, T, H), steps in the order they run, or (B, H) */
    real *hT, *cT;              /* (B, H) last state [opt] */
    const real *dy;             /* as y */
    const real *dhT, *dcT;      /* (B, H) [opt: zeros] */
    real *dx;                   /* (B, T, I) [opt] */
    real *dkernel, *drecurrent, *dbias;   /* as the weights; dbias [opt] */
    real *dh0, *dc0;            /* (B, H) [opt] */
} tdf_rnn;

/* Two layers that need nothing of each other, such as the directions of a Bidirectional.  rnn.c */
typedef struct { tdf_rnn one, other; } tdf_rnn_pair;

/* A loss or an accuracy over rows, its gradient and its weighted sum.  loss.c */
#define TDF_IGNORED INT32_MIN   /* the label of a row that does not count */

typedef struct {
    int threads;
    int loss;                   /* tdf_loss_kind */
    ptrdiff_t M, N;
    const real *target;         /* (M, N) [opt: the sparse kinds have labels] */
    const int32_t *labels;      /* (M) class of each row, or TDF_IGNORED [opt] */
    const real *p;              /* (M, N) predictions */
    const real *weight;         /* (M) [opt: ones] */
    const real *level;          /* (N) the quantile of each column [only TDF_LOSS_QUANTILE] */
    double scale;               /* the gradient is that of scale * sum(weight * rows) */
    double delta;               /* huber's bend, or the threshold of TDF_LOSS_MATCH_BINARY */
    double epsilon;             /* probabilities are clipped to epsilon .. 1 - epsilon */
    double smoothing;           /* of the labels; 0 for none */
    real *rows;                 /* (M) the loss of each row, not weighted */
    real *dp;                   /* (M, N) gradient [opt] */
    double *result;             /* (2) sum(weight * rows); the first row with a bad label or -1 */
} tdf_loss;

/* One optimizer step on a piece of the flat vectors.  optim.c says what each rule's slots and numbers are */
enum { TDF_SLOTS = 3, TDF_NUMBERS = 6 };

typedef struct {
    int threads;
    int rule;                   /* tdf_rule */
    ptrdiff_t n;
    real *w;                    /* (n) weights */
    const real *grad;           /* (n) */
    real *slot[TDF_SLOTS];      /* (n) each; the last may be grad [opt] */
    double number[TDF_NUMBERS];
    double decay;               /* learning rate times weight decay; 0 for none */
    double clip;                /* largest gradient element; 0 for none */
    double grad_scale;          /* multiplies the gradient before the clip */
} tdf_optim;

/* A sum of squares, or a product with a number, of n gradients.  optim.c */
typedef struct {
    int threads;
    ptrdiff_t n;
    real *grad;                 /* (n) */
    double factor;              /* scale: grad *= factor */
    double *partial;            /* sum_squares: n / 4096 rounded up */
    double *result;             /* sum_squares: (1) */
} tdf_norm;

/* Rows of a table by number, and their gradients summed back.  embed.c */
typedef struct {
    int threads;
    ptrdiff_t M, V, D;
    const int32_t *ids;         /* (M) each from 0 to V - 1 */
    const real *table;          /* (V, D) */
    real *y;                    /* (M, D) */
    const real *dy;             /* (M, D) */
    real *dtable;               /* (V, D) */
    ptrdiff_t *bad;             /* (1) forward: the first m whose id is out of range, or -1 */
} tdf_embed;

/* What dropout multiplies by: 0, or `kept`. Draws from a seed.  noise.c */
typedef struct {
    ptrdiff_t n;
    uint32_t *state;            /* (2) the seed, and the draws so far: one more then */
    uint32_t threshold;         /* of words of 32 bits: those below it give 0 */
    double kept;
    real *factors;              /* (n) */
} tdf_dropout;

/* Numbers times others, which T rows share.  noise.c */
typedef struct {
    int threads;
    ptrdiff_t B, T, N;
    const real *x;              /* (B, T, N) */
    const real *factors;        /* (B, N) */
    real *y;                    /* (B, T, N) */
} tdf_product;

/* Rows equal to one value throughout: their mask is 0, and so are they.  mask.c */
typedef struct {
    int threads;
    ptrdiff_t M, N;
    double value;
    const real *x;              /* (M, N) forward only */
    uint8_t *mask;              /* (M) 1: the row differs somewhere */
    real *y;                    /* (M, N); backward: dy becomes dx */
} tdf_masking;

/* y = softmax(scale q k^T) v of every head, without all scores of one at a time. Heads h H / G .. of queries
 * share one of keys and values. A key that a query does not see has the score -1e9.  attention.c */
typedef struct {
    int threads;
    int causal;                 /* a query sees the keys up to its own place */
    int moved;                  /* the score of a key that is not seen is lower by 1e9 instead */
    int zero;                   /* a key that is not seen has no share, even where a query sees none */
    ptrdiff_t window;           /* a query sees keys fewer than so many places away; 0: all */
    ptrdiff_t B, T, S;          /* samples, queries, keys */
    ptrdiff_t H, G;             /* heads of queries, and of keys; G divides H */
    ptrdiff_t D, E;             /* the width of a head's queries and keys, and of its values */
    double scale;
    const real *q;              /* (B, T, H, D) */
    const real *k;              /* (B, S, G, D) */
    const real *v;              /* (B, S, G, E) */
    const uint8_t *queries;     /* (B, T) 0: the query sees no key [opt] */
    const uint8_t *keys;        /* (B, S) 0: no query sees the key [opt] */
    const uint8_t *mask;        /* (B, H, T, S) 0: the query does not see the key [opt] */
    ptrdiff_t mask_b, mask_h, mask_t, mask_s;   /* its strides */
    real *y;                    /* (B, T, H, E) */
    real *stats;                /* (B, H, T, 2) a row's largest score, 1 / sum of e^(score - largest) */
    real *scratch;              /* tdf_attention_scratch_size */
    const real *dy;             /* (B, T, H, E) */
    real *dq, *dk, *dv;         /* as q, k and v */
} tdf_attention;

/* Hashes of texts of bytes.  text.c */
typedef struct {
    int threads;
    int salted;                 /* SipHash-2-4 with the key, else FarmHash's fingerprint */
    uint64_t k0, k1;            /* the key */
    ptrdiff_t M;
    const uint8_t *text;        /* all texts, one after the other */
    const int64_t *ends;        /* (M + 1): text m is from ends[m] to ends[m + 1] */
    uint64_t *hash;             /* (M) */
} tdf_hash;

/* The words in texts.  text.c */
typedef struct {
    int lower, strip;           /* whether ASCII letters are made small, and punctuation is left out */
    ptrdiff_t M;
    ptrdiff_t most;             /* the words of a text that count, at least 1 */
    const uint8_t *text;        /* all texts, one after the other */
    const int64_t *ends;        /* (M + 1): text m is from ends[m] to ends[m + 1] */
    uint8_t *words;             /* all words, one after the other, in no more bytes than the texts have */
    int64_t *word_ends;         /* half as many as bytes and texts, and 1: word w begins at word_ends[w] */
    int64_t *counts;            /* (M) words of each text */
} tdf_words;

/* The numbers of words in a table, by open addressing.  text.c */
typedef struct {
    int threads;
    int grow;                   /* whether new words get the next numbers */
    ptrdiff_t M;
    const uint8_t *words;
    const int64_t *word_ends;   /* (M + 1) */
    int64_t *ids;               /* (M) */
    ptrdiff_t slots;            /* a power of 2, more than room */
    uint64_t *table;            /* (slots) */
    ptrdiff_t room, bytes;      /* the words, and their bytes, that there is memory for */
    uint8_t *known;             /* (bytes) the words of the table */
    int64_t *known_ends;        /* (room + 1) */
    ptrdiff_t *size;            /* the words in the table */
    ptrdiff_t *done;            /* the words that were looked up */
} tdf_vocabulary;

/* How exact the operands of products are: float32; two bfloat16 numbers each; one.  low.h */
typedef enum { TDF_HIGHEST, TDF_HIGH, TDF_MEDIUM, TDF_PRECISIONS } tdf_precision;

/* Every kernel: X(name, struct, isa). The tables, their members and the prototypes come from this. Those of
 * TDF_PRODUCTS exist in every precision. */
#define TDF_KERNELS(X, isa)                                                                        \
    TDF_OTHERS(X, isa)                                                                             \
    TDF_PRODUCTS(X, isa)

#define TDF_OTHERS(X, isa)                                                                         \
    X(act_forward, tdf_act, isa)                                                                   \
    X(act_backward, tdf_act, isa)                                                                  \
    X(embed_forward, tdf_embed, isa)                                                               \
    X(embed_backward, tdf_embed, isa)                                                              \
    X(masking_forward, tdf_masking, isa)                                                           \
    X(masking_backward, tdf_masking, isa)                                                          \
    X(dropout, tdf_dropout, isa)                                                                   \
    X(multiply, tdf_product, isa)                                                                  \
    X(text_hash, tdf_hash, isa)                                                                    \
    X(text_words, tdf_words, isa)                                                                  \
    X(text_find, tdf_vocabulary, isa)                                                              \
    X(loss, tdf_loss, isa)                                                                         \
    X(optim_step, tdf_optim, isa)                                                                  \
    X(sum_squares, tdf_norm, isa)                                                                  \
    X(scale, tdf_norm, isa)                                                                        \
    X(layer_norm_forward, tdf_layer_norm, isa)                                                     \
    X(layer_norm_backward, tdf_layer_norm, isa)                                                    \
    X(column_sums, tdf_sums, isa)                                                                  \
    X(blend, tdf_blend, isa)                                                                       \
    X(pool_forward, tdf_pool, isa)                                                                 \
    X(pool_backward, tdf_pool, isa)

#define TDF_PRODUCTS(X, isa)                                                                       \
    X(dense_pack, tdf_dense, isa)                                                                  \
    X(dense_forward, tdf_dense, isa)                                                               \
    X(dense_backward, tdf_dense, isa)                                                              \
    X(conv_pack, tdf_conv, isa)                                                                    \
    X(conv_forward, tdf_conv, isa)                                                                 \
    X(conv_backward, tdf_conv, isa)                                                                \
    X(conv_transpose, tdf_conv, isa)                                                               \
    X(attention_forward, tdf_attention, isa)                                                       \
    X(attention_backward, tdf_attention, isa)                                                      \
    X(rnn_pack, tdf_rnn, isa)                                                                      \
    X(rnn_forward, tdf_rnn, isa)                                                                   \
    X(rnn_backward, tdf_rnn, isa)                                                                  \
    X(rnn_pair_forward, tdf_rnn_pair, isa)                                                         \
    X(rnn_pair_backward, tdf_rnn_pair, isa)

/* How much memory a kernel needs, in elements; the same on every ISA (sizes.c). Of tdf_rnn these read
 * cell, act, rec_act, B, T, I, H and threads, of tdf_conv all its sizes, of tdf_attention D, E and threads.
 * `threads` is at least that of the struct. */
ptrdiff_t tdf_dense_pack_size(ptrdiff_t K, ptrdiff_t N);
ptrdiff_t tdf_dense_scratch_size(ptrdiff_t K, ptrdiff_t N, int threads);
ptrdiff_t tdf_conv_pack_size(const tdf_conv *a);
ptrdiff_t tdf_conv_infer_size(const tdf_conv *a);       /* scratch of forward */
ptrdiff_t tdf_conv_scratch_size(const tdf_conv *a);     /* scratch of backward */
ptrdiff_t tdf_conv_transpose_size(const tdf_conv *a);   /* scratch of conv_transpose */
ptrdiff_t tdf_attention_scratch_size(const tdf_attention *a);
ptrdiff_t tdf_sums_scratch_size(ptrdiff_t N);
ptrdiff_t tdf_layer_norm_scratch_size(ptrdiff_t N);
ptrdiff_t tdf_rnn_gates(int cell);                      /* G */
ptrdiff_t tdf_rnn_biases(int cell);                     /* rows of the bias */
ptrdiff_t tdf_rnn_pack_size(const tdf_rnn *a);
ptrdiff_t tdf_rnn_tape_size(const tdf_rnn *a);
ptrdiff_t tdf_rnn_infer_size(const tdf_rnn *a);         /* scratch without a tape */
ptrdiff_t tdf_rnn_scratch_size(const tdf_rnn *a);       /* scratch with one */

typedef struct {
    const char *name;           /* "baseline", "avx2", "avx512", "neon" or "float64" */
    const char *products;       /* what makes products: "float32", "float64" or "AMX" */
#define TDF_MEMBER(kernel, args, isa) void (*kernel)(const args *);
    TDF_KERNELS(TDF_MEMBER, any)
#undef TDF_MEMBER
} tdf_table;

/* The number of each kernel: TDF_CALL_dense_forward, and so on. */
#define TDF_NUMBER(kernel, args, isa) TDF_CALL_##kernel,
enum { TDF_KERNELS(TDF_NUMBER, any) TDF_CALLS };
#undef TDF_NUMBER

/* dispatch.c: calls the kernel of this number. `args` points to its struct. */
void tdf_call(const tdf_table *table, int kernel, const void *args);

/* dispatch.c: the i-th table of this build that this processor can run, the best last; NULL past it. */
const tdf_table *tdf_isa(int i, int precision);
const tdf_table *tdf_float64(void);
int tdf_max_threads(void);      /* what OpenMP would use here, and what was granted; 1 without OpenMP */
void tdf_grant_threads(int n, int follow);      /* at most n, and, if it follows them, one a processor on
                                                 * which the caller may run */
void tdf_omp_set_threads(int n);
int tdf_flush_denormals(int flush);     /* NumPy, too, takes denormals as 0 in this thread, or no longer;
                                         * whether it did */
long tdf_openmp_version(void);  /* _OPENMP, or 0 */

/* team.c: the threads that kernels share. */
int tdf_team_watch_forks(void);                 /* once; 0 if that went well */
void tdf_team_set_patience(long nanoseconds);   /* how long a thread looks for work, or for the end of others'
                                                 * work, before it sleeps */

#ifdef TDF_ISA                  /* within a kernel file: the name with this build's suffix */
#define TDF_PASTE_(a, b, c) a##b##_##c
#define TDF_PASTE(a, b, c) TDF_PASTE_(a, b, c)
#define TDF_NAME(kernel) TDF_PASTE(tdf_, kernel, TDF_ISA)
#endif

#endif
