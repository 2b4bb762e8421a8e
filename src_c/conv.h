/* conv.h - how a convolution is cut up, and where its scratch lies: for conv.c, depthwise.c and sizes.c. */
#ifndef TDF_CONV_H
#define TDF_CONV_H

#include "gemm.h"

#define CONV_ROWS 96            /* output pixels between product and activation */
#define CONV_CHUNK 256          /* pixels summed in registers before they are added to dkernel */
#define CONV_SPREAD 16384       /* elements of dx still unfolded at a time */
#define CONV_PARTS 32           /* sums of dkernel made side by side, */
#define CONV_PARTIAL 32768      /* unless dkernel is larger than this: then they would take too much memory */

typedef struct {
    ptrdiff_t Cg, Fg;           /* channels and filters of a group */
    ptrdiff_t K;                /* rows of the kernel: kd kh kw Cg */
    ptrdiff_t pixels;           /* output pixels of a volume */
    int depthwise;              /* a group is one channel: depthwise.c */
    ptrdiff_t pieces, length;   /* contiguous pieces of a window's row, and their length */
    int padded;                 /* windows reach out of the image: they read a copy with zeros around it */
    ptrdiff_t image;            /* elements of that copy, 0 if there is none */
    ptrdiff_t spread;           /* pixels whose dx is unfolded at once */
    /* dkernel is summed over this many runs of images, side by side; 1: its rows are split over threads
     * instead. The number depends on the sizes alone, as the result does. */
    ptrdiff_t parts;
    /* Scratch of backward: what all share, then what each thread has. */
    ptrdiff_t transposed;       /* the packed transposed kernel, [groups](Fg, K) */
    ptrdiff_t partial;          /* one part's dkernel and dbias */
    ptrdiff_t dimage, dz, chunk;/* of a thread, after its image and its spread of windows */
    ptrdiff_t each;
} conv_view;

static inline __attribute__((unused)) conv_view conv_view_of(const tdf_conv *a)
{
    conv_view w = {.Cg = a->C / a->groups, .Fg = a->F / a->groups, .pixels = a->Do * a->Ho * a->Wo};
    int whole = a->groups == 1 && (a->dw == 1 || a->kw == 1);
    w.K = a->kd * a->kh * a->kw * w.Cg;
    w.depthwise = a->groups > 1 && a->groups == a->C;
    w.pieces = whole ? 1 : a->kw;
    w.length = whole ? a->kw * w.Cg : w.Cg;
    w.padded = a->Dp != a->D || a->Hp != a->H || a->Wp != a->W;
    /* A depthwise image has a channel for every filter, so that both lie in the same lanes. */
    ptrdiff_t volume = a->Dp * a->Hp * a->Wp * (w.depthwise ? a->F : a->C);
    w.image = w.padded || (w.depthwise && w.Fg > 1) ? volume : 0;
    w.spread = CONV_SPREAD / (w.K ? w.K : 1) / 6 * 6;
    w.spread = w.spread < 6 ? 6 : w.spread > CONV_ROWS ? CONV_ROWS : w.spread;
    ptrdiff_t size = w.K * a->F;
    w.parts = size > CONV_PARTIAL || a->N < 2 ? 1 : a->N < CONV_PARTS ? a->N : CONV_PARTS;
    w.transposed = w.depthwise ? 0 : a->groups * gemm_pack_size(w.Fg, w.K);
    w.partial = w.parts > 1 ? ROUND_UP(size, PANEL) + ROUND_UP(a->F, PANEL) : 0;
    w.dimage = w.image;
    w.dz = w.parts > 1 ? w.pixels * a->F : 0;
    w.chunk = w.depthwise ? 0 : CONV_CHUNK * GEMM_PANEL;
    w.each = ROUND_UP(w.image + (w.depthwise ? 0 : w.spread * w.K) + w.dimage + w.dz + w.chunk, PANEL);
    return w;
}

/* Scratch of a thread in the transposed convolution. */
static inline __attribute__((unused)) ptrdiff_t conv_transpose_each(const conv_view *w)
{
    return ROUND_UP(w->spread * w->K + w->dimage, PANEL);
}

/* Where the window of output pixel p of an image begins, in an image of C channels. */
static inline __attribute__((unused)) ptrdiff_t conv_window(const tdf_conv *a, ptrdiff_t p, ptrdiff_t C)
{
    ptrdiff_t row = p / a->Wo, plane = a->Do > 1 ? row / a->Ho : 0;
    ptrdiff_t at = plane * a->sd * a->Hp + (row - plane * a->Ho) * a->sh;
    return (at * a->Wp + p % a->Wo * a->sw) * C;
}

/* How many pixels from p on lie in one output row, at most to the end. */
static inline __attribute__((unused)) ptrdiff_t conv_run(const tdf_conv *a, ptrdiff_t p, ptrdiff_t end)
{
    ptrdiff_t run = a->Wo - p % a->Wo;
    return run < end - p ? run : end - p;
}

/* The products of depthwise.c, for one image; see the functions of these names in conv.c. */
void TDF_NAME(depthwise_pixels)(const tdf_conv *a, const real *x, ptrdiff_t lo, ptrdiff_t hi, real *y);
void TDF_NAME(depthwise_dx)(const tdf_conv *a, const real *dz, real *image);
void TDF_NAME(depthwise_weights)(const tdf_conv *a, const real *x, const real *dz, ptrdiff_t lo, ptrdiff_t hi,
                                 real *dkernel, real *dbias, int first);

#endif
