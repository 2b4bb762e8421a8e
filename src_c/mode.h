/* mode.h - the floating-point mode of the thread.
 *
 * MODE_PLAIN rounds to the nearest, without traps. MODE_FLUSH in addition takes denormals as 0, in operands
 * and in results: on many processors each of them costs a hundred times another number.
 */
#ifndef TDFAST_MODE_H
#define TDFAST_MODE_H

#if defined(__SSE2__)
#include <xmmintrin.h>
#define MODE_PLAIN 0x1f80ul
#define MODE_FLUSH 0x8040ul                             /* flush to zero, denormals are zero */
static inline unsigned long mode_read(void) { return _mm_getcsr(); }
static inline void mode_write(unsigned long mode) { _mm_setcsr((unsigned)mode); }
#elif defined(__aarch64__)
#define MODE_PLAIN 0ul
#define MODE_FLUSH (1ul << 24)                          /* flush to zero */
static inline unsigned long mode_read(void)
{
    unsigned long mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}
static inline void mode_write(unsigned long mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#else
#define MODE_PLAIN 0ul
#define MODE_FLUSH 0ul
static inline unsigned long mode_read(void) { return 0; }
static inline void mode_write(unsigned long mode) { (void)mode; }
#endif

#endif
