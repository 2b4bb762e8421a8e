# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: binding=False, embedsignature=True, embedsignature.format=clinic
"""The border between NumPy and the kernels: check every array, fill the struct, call without the GIL.

Nothing is computed or allocated here, and nothing can fail behind it. An array that does not fit is
a ValueError that names the kernel's argument; users meet clearer errors before.
"""

cimport numpy as cnp
from cpython.bytearray cimport PyByteArray_AsString
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.math cimport isfinite, sqrt
from libc.string cimport memcpy, memset

cnp.import_array()


# NumPy or Cython may include complex.h, whose macro I would take the place of the inputs' number I.
cdef extern from *:
    """
    #include <complex.h>
    #undef I
    """


include "declarations.pxi"      # tdfast.h, made by src_c/declarations.py


# ---------------------------------------------------------------------- instruction sets and threads

cdef int _isa = 0, _precision = TDF_HIGHEST
cdef const tdf_table *_float32 = NULL
cdef const tdf_table *_float64 = tdf_float64()
cdef enum:
    MOST_THREADS = 1024

cdef int _limit = MOST_THREADS   # what set_threads asked for


def isas():
    """The names of the instruction sets that this build has and this processor runs."""
    cdef int i = 0
    names = []
    while tdf_isa(i, 0) != NULL:
        names.append(tdf_isa(i, 0).name.decode())
        i += 1
    return names


def use_isa(str name):
    """Use the kernels of this instruction set; the name must be one of `isas`."""
    global _float32, _isa
    names = isas()
    if name not in names:
        raise ValueError(f"no instruction set {name!r}; available: {', '.join(names)}")
    _isa = names.index(name)
    _float32 = tdf_isa(_isa, _precision)


def isa():
    """The instruction set in use."""
    return _float32.name.decode()


def products_by():
    """What makes the products of matrices in the precision in use: 'float32' or 'AMX'."""
    return _float32.products.decode()


use_isa(isas().pop())

PRECISIONS = {"highest": TDF_HIGHEST, "high": TDF_HIGH, "medium": TDF_MEDIUM}


def use_precision(str name):
    """Use the kernels of this precision of products, one of `PRECISIONS`, where numbers are float32."""
    global _float32, _precision
    if name not in PRECISIONS:
        raise ValueError(f"no precision {name!r}; available: {', '.join(PRECISIONS)}")
    _precision = PRECISIONS[name]
    _float32 = tdf_isa(_isa, _precision)
    changed()


def precision():
    """The precision of products in use."""
    return list(PRECISIONS)[_precision]


tdf_team_watch_forks()


def set_threads(int n):
    """At most n threads from now on; n >= 1. More than MOST_THREADS count as that many."""
    global _limit
    if n < 1:
        raise ValueError(f"threads must be at least 1, got {n}")
    _limit = min(n, MOST_THREADS)
    tdf_grant_threads(MOST_THREADS, 0)
    tdf_omp_set_threads(_limit)


def limit_threads_here(int n):
    """In calls from this thread at most n threads from now on; n >= 1."""
    if n < 1:
        raise ValueError(f"threads must be at least 1, got {n}")
    tdf_omp_set_threads(min(n, MOST_THREADS))


def grant_threads(int n, bint follow):
    """Until set_threads: at most n threads and, to follow them, one a processor that the caller may use."""
    tdf_grant_threads(n, follow)


cdef inline int _threads() noexcept nogil:
    cdef int n = tdf_max_threads()
    return n if n < _limit else _limit


def set_patience(long nanoseconds):
    """How long a thread that waits for work, or for others, looks for it before it sleeps."""
    tdf_team_set_patience(nanoseconds)


def get_threads():
    """The most threads that a kernel called from here would use."""
    return _threads()


def openmp_version():
    """The date of the OpenMP standard that was built in, or 0."""
    return tdf_openmp_version()


cdef class Flushing:
    """For a block: the arithmetic of this thread takes denormals as 0, within another context.

    Compiled, so that Ctrl-C cannot come between the change of the mode and the block.
    """

    cdef object errors
    cdef int before

    def __init__(self, errors):
        self.errors = errors

    def __enter__(self):
        self.errors.__enter__()
        self.before = tdf_flush_denormals(1)

    def __exit__(self, *error):
        tdf_flush_denormals(self.before)
        self.errors.__exit__(*error)


# ---------------------------------------------------------------------- checks

cdef inline const tdf_table *_table(cnp.ndarray a) except NULL:
    """The kernels for the dtype of this array."""
    cdef int kind = cnp.PyArray_TYPE(a)
    if kind == cnp.NPY_FLOAT32:
        return _float32
    if kind == cnp.NPY_FLOAT64:
        return _float64
    raise ValueError(f"kernels take float32 or float64, got {a.dtype}")


cdef inline void *_ptr(object a, ptrdiff_t size, int kind, str name) except? NULL:
    """The memory of a C-contiguous array of `size` elements or more; NULL for None."""
    if a is None:
        return NULL
    if not isinstance(a, cnp.ndarray):
        raise ValueError(f"{name}: expected an array, got {type(a).__name__}")
    return _data(<cnp.ndarray>a, size, kind, name)


cdef inline void *_data(cnp.ndarray b, ptrdiff_t size, int kind, str name) except? NULL:
    """The memory of what is an array. A variable for it in `_ptr` would cost two calls of the stable ABI."""
    if cnp.PyArray_TYPE(b) != kind:
        raise ValueError(f"{name}: dtype {b.dtype} does not match the other arrays")
    if not cnp.PyArray_IS_C_CONTIGUOUS(b):
        raise ValueError(f"{name}: must be C-contiguous")
    if not cnp.PyArray_ISALIGNED(b) or not cnp.PyArray_ISNOTSWAPPED(b):
        raise ValueError(f"{name}: must be aligned and in this machine's byte order")
    if cnp.PyArray_SIZE(b) < size:
        raise ValueError(
            f"{name}: needs {size} elements, has {cnp.PyArray_SIZE(b)} (shape {(<object>b).shape})")
    if tdf_recorder != NULL:
        (<Program>tdf_recorder).memory.append(b)
    return cnp.PyArray_DATA(b)


cdef inline void *_out(object a, ptrdiff_t size, int kind, str name) except? NULL:
    """The same for an array that the kernel writes."""
    if a is not None and isinstance(a, cnp.ndarray) and not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>a):
        raise ValueError(f"{name}: must be writeable")
    return _ptr(a, size, kind, name)


cdef inline int _bounded(ptrdiff_t a, ptrdiff_t b=1, ptrdiff_t c=1, ptrdiff_t d=1, ptrdiff_t e=1,
                         ptrdiff_t f=1, ptrdiff_t g=1) except -1:
    """Refuse sizes below 0, and those with which a kernel would never end.

    A size is at most 2^40 and the product at most 2^49, so no size that is made of them can leave ptrdiff_t:
    the largest, scratch memory with its padding, is below 2^13 times the product plus 2^20 times a size.
    """
    cdef double half = max(a, 1) * <double>max(b, 1) * max(c, 1) * max(d, 1)
    cdef double work = half * max(e, 1) * max(f, 1) * max(g, 1)
    cdef ptrdiff_t least = min(a, b, c, d, e, f, g), most = max(a, b, c, d, e, f, g)
    if least < 0 or most > <ptrdiff_t>1 << 40 or work > <ptrdiff_t>1 << 49:
        raise ValueError(f"sizes out of range: {(a, b, c, d, e, f, g)}")
    return 0


cdef inline int _check_act(int act) except -1:
    if act < 0 or act >= TDF_ACTIVATIONS:
        raise ValueError(f"unknown activation number {act}")
    return act


cdef inline int _check_input(int act, const void *z, str name) except -1:
    """The gradient of some activations needs what came in."""
    if z == NULL and tdf_act_needs_input(act):
        raise ValueError(f"{name}: the gradient of activation number {act} needs it")
    return 0


# ---------------------------------------------------------------------- programs

cdef extern from *:
    """
    static _Thread_local void *tdf_recorder;    /* the Program that this thread records, or NULL */
    """
    void *tdf_recorder

cdef struct program_call:
    const tdf_table *table
    int kernel                  # its number; of a function of Python: FUNCTION
    const void *args            # its struct, which is the program's

cdef enum:
    FUNCTION = -1

cdef long _changes = 0


def changed():
    """Something changed that kernels may have been told: no program made before runs again."""
    global _changes
    _changes += 1


def changes():
    """How often something has changed."""
    return _changes


cdef class Program:
    """Calls of kernels and functions that were made once and can be made again, on the same memory.

    In a block ``with program:`` each kernel that this thread calls, and each function that it hands to
    `call`, is noted as well. `run` makes all of these calls once more, the kernels without the GIL. What else
    happened in the block does not happen again, so whoever writes it says so with `call` or `abandon`.

    >>> program, heard = Program(), []
    >>> with program:
    ...     call(heard.append, "a")
    >>> program.run(), heard
    (True, ['a', 'a'])
    """

    cdef bytearray calls        # a program_call of each
    cdef list memory            # their structs, and the arrays that the kernels know
    cdef list functions
    cdef int threads
    cdef long changes
    cdef const tdf_table *table
    cdef void *outer
    cdef bint whole, running

    def __cinit__(self):
        self.forget()

    cdef int forget(self) except -1:
        self.calls, self.memory, self.functions, self.whole = bytearray(), [], [], False
        return 0

    cdef int add(self, const tdf_table *table, int kernel, const void *args, size_t size) except -1:
        cdef program_call one
        held = PyBytes_FromStringAndSize(<const char *>args, size)
        one.table, one.kernel, one.args = table, kernel, PyBytes_AsString(held)
        self.memory.append(held)
        self.calls += PyBytes_FromStringAndSize(<const char *>&one, sizeof(one))
        return 0

    def __enter__(self):
        self.forget()
        self.threads, self.changes, self.table = _threads(), _changes, _float32
        global tdf_recorder
        self.outer, tdf_recorder = tdf_recorder, <void *>self
        self.whole = self.outer == NULL
        if not self.whole:
            (<Program>self.outer).whole = False         # nor does it see what happens in here
        return self

    def __exit__(self, kind, *error):
        global tdf_recorder
        tdf_recorder = self.outer
        if kind is not None:
            self.whole = False
        if not self.whole:
            self.forget()

    @property
    def ready(self):
        """Whether `run` would make the calls: they were recorded, and nothing has changed since."""
        return (self.whole and not self.running and self.changes == _changes and self.table == _float32
                and self.threads == _threads())

    @property
    def has_functions(self):
        """Whether some of its calls are functions of Python."""
        return len(self.functions) > 0

    def run(self, bint changed=False):
        """Make all calls again; False, and none of them, where the program is not `ready`.

        Args:
            changed: True runs it all the same where something has changed: to end what another began.
        """
        cdef ptrdiff_t i = 0, f = 0, n = len(self.calls) // sizeof(program_call)
        cdef const program_call *calls = <const program_call *>PyByteArray_AsString(self.calls)
        if not (self.whole and not self.running if changed else self.ready):
            return False
        self.running = True
        try:
            while i < n:
                if calls[i].kernel == FUNCTION:
                    function, args, kwargs = self.functions[f]
                    f += 1
                    function(*args, **kwargs)
                    i += 1
                    continue
                with nogil:
                    i = make_kernels(calls, i, n)
        finally:
            self.running = False
        return True


cdef ptrdiff_t make_kernels(const program_call *calls, ptrdiff_t i, ptrdiff_t n) noexcept nogil:
    """Make the calls from i on, up to the next function; where that is."""
    while i < n and calls[i].kernel != FUNCTION:
        tdf_call(calls[i].table, calls[i].kernel, calls[i].args)
        i += 1
    return i


def call(function, *args, **kwargs):
    """``function(*args, **kwargs)``, now and in each run of the program that this thread records. It changes
    arrays in place; what it returns is the same each time."""
    global tdf_recorder
    cdef void *recorder = tdf_recorder
    if recorder == NULL:
        return function(*args, **kwargs)
    tdf_recorder = NULL         # kernels that it calls are a part of it
    try:
        result = function(*args, **kwargs)
    finally:
        tdf_recorder = recorder
    (<Program>recorder).add(NULL, FUNCTION, <const char *>b"", 0)
    (<Program>recorder).functions.append((function, args, kwargs))
    return result


def abandon():
    """What happens here cannot be made again: the program that this thread records is none."""
    if tdf_recorder != NULL:
        (<Program>tdf_recorder).whole = False


def is_recording():
    """Whether this thread records a program that can still become whole."""
    return tdf_recorder != NULL and (<Program>tdf_recorder).whole


cdef struct steps_room:         # where rows are gathered
    const char *rows
    char *room
    size_t bytes                # of a row

cdef struct steps_piece:        # weights that one call updates
    tdf_optim update
    tdf_norm norm
    bint decays

cdef struct steps_plan:
    const tdf_table *table
    const program_call *forward
    const program_call *backward
    ptrdiff_t forwards, backwards, rows, samples, rooms, results, losses, pieces
    const steps_room *room
    const double * const *result    # of each: what the kernel left
    steps_piece *piece
    ptrdiff_t norms
    tdf_norm *norm              # of the gradient of each variable
    double most                 # the largest length that it may have, 0: any
    const cnp.int64_t *order    # of `run`, those of the step to come
    const double *numbers
    double *values


cdef class Steps:
    """Training steps in a row, without Python: gather, forward, backward, update.

    Args:
        rows: of a batch.
        gathers: pairs (all rows, the room of a batch), C-contiguous arrays of one dtype.
        forward, backward: the two `Program`s of the passes, of kernels alone, which work in these rooms.
        results: for each loss, then for each metric, the array of 2 in which its kernel leaves the value and
            the first row with a bad label or -1.
        losses: how many of them are losses.
        pieces: for each (rule, w, grad, slots, whether it decays): what `optim_step` takes.
        grads: the gradient of each variable, whose length may be limited.
        partial: as `sum_squares` takes it.

    Attributes:
        made: how many steps the last `run` made.
    """

    cdef readonly ptrdiff_t made
    cdef list memory, gathers
    cdef Program forward, backward
    cdef bytearray room, result, piece, norms, sums
    cdef double norm
    cdef steps_plan plan

    def __init__(self, ptrdiff_t rows, list gathers, Program forward not None, Program backward not None,
                 list results, ptrdiff_t losses, list pieces, list grads, cnp.ndarray partial not None):
        cdef steps_piece piece
        cdef tdf_norm norm
        cdef double *sums
        cdef cnp.ndarray given
        cdef const double *result
        self.memory = [results, pieces, grads, partial]
        self.forward, self.backward = forward, backward
        self.result, self.piece = bytearray(), bytearray()
        self.plan.rows = rows
        if rows < 1 or not 0 < losses <= len(results) or not pieces:
            raise ValueError("there must be rows, losses and weights")
        self.gather(gathers)
        for given in results:
            result = <const double *>_ptr(given, 2, cnp.NPY_FLOAT64, "result")
            self.result += PyBytes_FromStringAndSize(<const char *>&result, sizeof(result))
        for rule, w, grad, slots, decays in pieces:
            if self.plan.table != NULL and self.plan.table != _table(w):
                raise ValueError("all weights must have one dtype")
            self.plan.table = _table(w)
            piece.update, piece.decays = _optim(rule, w, grad, slots, ()), decays
            piece.norm = _norm(grad, partial, &self.norm)
            self.piece += PyBytes_FromStringAndSize(<const char *>&piece, sizeof(piece))
        self.norms, self.sums = bytearray(), bytearray(len(grads) * sizeof(double))
        sums = <double *>PyByteArray_AsString(self.sums)
        for given in grads:
            if self.plan.table != _table(given):
                raise ValueError("all gradients must have the dtype of the weights")
            norm = _norm(given, partial, sums)
            sums += 1
            self.norms += PyBytes_FromStringAndSize(<const char *>&norm, sizeof(norm))
        self.plan.norms, self.plan.norm = len(grads), <tdf_norm *>PyByteArray_AsString(self.norms)
        self.plan.results, self.plan.pieces, self.plan.losses = len(results), len(pieces), losses
        self.plan.result = <const double * const *>PyByteArray_AsString(self.result)
        self.plan.piece = <steps_piece *>PyByteArray_AsString(self.piece)

    def gather(self, list gathers not None):
        """From now on gather the rows of these arrays, given as at the beginning."""
        cdef steps_room room
        cdef cnp.ndarray given, to
        cdef ptrdiff_t samples = -1
        rooms = bytearray()
        if not gathers:
            raise ValueError("there must be arrays")
        for given, to in gathers:
            _check_rows(given, to, self.plan.rows)
            if samples not in (-1, given.shape[0]):
                raise ValueError("all arrays must have the same number of rows")
            samples = given.shape[0]
            room.rows, room.room = <const char *>cnp.PyArray_DATA(given), <char *>cnp.PyArray_DATA(to)
            room.bytes = <size_t>(to.nbytes // self.plan.rows)
            rooms += PyBytes_FromStringAndSize(<const char *>&room, sizeof(room))
        self.gathers, self.room, self.plan.rooms, self.plan.samples = gathers, rooms, len(gathers), samples
        self.plan.room = <const steps_room *>PyByteArray_AsString(self.room)

    def run(self, const cnp.int64_t[::1] order not None, const double[:, ::1] numbers not None,
            double[:, ::1] values not None, double clip=0, double most=0):
        """Make steps until an order ends or something is not finite: so many as `made` says then.

        The step after them is not begun where a loss or a gradient is not finite, a label is bad, or a
        gradient too short or too long for its dtype: no weight is changed then.

        Args:
            order: the numbers of the rows, those of one step after those of the other.
            numbers: for each step the numbers of the optimizer's rule, zeros behind them, and what its
                weights decay by: (steps, TDF_NUMBERS + 1).
            values: becomes for each step the values of the results: (steps, results).
            clip: as `optim_step` takes it.
            most: the largest length that a variable's gradient keeps; 0: any.
        """
        cdef ptrdiff_t i, steps = numbers.shape[0], made
        self.made = 0
        if not self.forward.ready or not self.backward.ready or self.forward.functions or (
                self.backward.functions):
            return
        if order.shape[0] != steps * self.plan.rows or values.shape[0] != steps or (
                values.shape[1] != self.plan.results or numbers.shape[1] != TDF_NUMBERS + 1):
            raise ValueError("order, numbers and values must fit")
        for i in range(order.shape[0]):
            if not 0 <= order[i] < self.plan.samples:
                raise ValueError(f"order holds {order[i]}, and there are {self.plan.samples} rows")
        if not steps:
            return
        for i in range(self.plan.pieces):
            self.plan.piece[i].update.clip = clip
        self.plan.most = most
        self.plan.forward = <const program_call *>PyByteArray_AsString(self.forward.calls)
        self.plan.backward = <const program_call *>PyByteArray_AsString(self.backward.calls)
        self.plan.forwards = len(self.forward.calls) // sizeof(program_call)
        self.plan.backwards = len(self.backward.calls) // sizeof(program_call)
        self.plan.order, self.plan.numbers, self.plan.values = &order[0], &numbers[0, 0], &values[0, 0]
        self.forward.running = self.backward.running = True
        with nogil:
            made = make_steps(&self.plan, steps)
        self.forward.running = self.backward.running = False
        self.made = made


cdef int _check_rows(cnp.ndarray given, cnp.ndarray room, ptrdiff_t rows) except -1:
    if not cnp.PyArray_IS_C_CONTIGUOUS(given) or not cnp.PyArray_IS_C_CONTIGUOUS(room) or (
            cnp.PyArray_TYPE(given) != cnp.PyArray_TYPE(room)) or given.dtype.hasobject or (
            not given.dtype.isnative or given.ndim < 1 or not cnp.PyArray_ISWRITEABLE(room)):
        raise ValueError("rows are gathered from and into C-contiguous arrays of one dtype")
    if (<object>room).shape != (rows, *(<object>given).shape[1:]):
        raise ValueError(f"rows of shape {(<object>given).shape[1:]} do not fit {(<object>room).shape}")
    return 0


cdef bint cut_lengths(steps_plan *p) noexcept nogil:
    """Shorten the gradients that are longer than they may be; False, and nothing, where Python has to."""
    cdef ptrdiff_t k
    cdef double sum, length
    for k in range(p.norms):
        p.table.sum_squares(&p.norm[k])
        sum, p.norm[k].factor = p.norm[k].result[0], 1
        if sum < 1e-30 and p.most > 1e-6:
            continue
        length = sqrt(sum)
        if not (1e-30 <= sum and p.most / length > 1e-30):
            return False
        if not length <= p.most:
            p.norm[k].factor = p.most / length
    for k in range(p.norms):
        if p.norm[k].factor != 1:
            p.table.scale(&p.norm[k])
    return True


cdef ptrdiff_t make_steps(steps_plan *p, ptrdiff_t steps) noexcept nogil:
    cdef ptrdiff_t i, k, r
    cdef double sum
    cdef steps_room room
    for i in range(steps):
        for k in range(p.rooms):
            room = p.room[k]
            for r in range(p.rows):
                memcpy(room.room + r * room.bytes, room.rows + p.order[r] * room.bytes, room.bytes)
        make_kernels(p.forward, 0, p.forwards)
        sum = 0
        for k in range(p.results):
            p.values[k] = p.result[k][0]
            if k < p.losses:
                sum += p.values[k] * 0
            if p.result[k][1] >= 0:
                return i
        if sum != 0:
            return i
        make_kernels(p.backward, 0, p.backwards)
        for k in range(p.pieces):
            p.table.sum_squares(&p.piece[k].norm)
            if not isfinite(p.piece[k].norm.result[0]):
                return i
        if p.most > 0 and not cut_lengths(p):
            return i
        for k in range(p.pieces):
            for r in range(TDF_NUMBERS):
                p.piece[k].update.number[r] = p.numbers[r]
            p.piece[k].update.decay = p.numbers[TDF_NUMBERS] if p.piece[k].decays else 0
            p.table.optim_step(&p.piece[k].update)
        p.order += p.rows
        p.numbers += TDF_NUMBERS + 1
        p.values += p.results
    return steps


cdef int _make(const tdf_table *table, int kernel, const void *args, size_t size) except -1:
    """Call a kernel, and note it where a program is recorded. All pointers of its struct come from `_ptr`."""
    if tdf_recorder != NULL:
        (<Program>tdf_recorder).add(table, kernel, args, size)
    with nogil:
        tdf_call(table, kernel, args)
    return 0


# ---------------------------------------------------------------------- activations

def act_needs_input(int act):
    """Whether the gradient of this activation needs x; elsewhere y is enough."""
    return tdf_act_needs_input(_check_act(act)) != 0


def act_is_row(int act):
    """Whether this activation acts on a whole row instead of on each element."""
    return tdf_act_is_row(_check_act(act)) != 0


def act_forward(int act, ptrdiff_t M, ptrdiff_t N, cnp.ndarray x not None, cnp.ndarray y not None):
    """y = f(x) on M rows of N."""
    cdef const tdf_table *table = _table(x)
    cdef int kind = cnp.PyArray_TYPE(x)
    cdef tdf_act a
    memset(&a, 0, sizeof(a))
    _bounded(M, N)
    a.threads, a.act, a.M, a.N = _threads(), _check_act(act), M, N
    a.x = <real *>_ptr(x, M * N, kind, "x")
    a.y = <real *>_out(y, M * N, kind, "y")
    _make(table, TDF_CALL_act_forward, &a, sizeof(a))


def act_backward(int act, ptrdiff_t M, ptrdiff_t N, *, cnp.ndarray x=None, cnp.ndarray y not None,
                 cnp.ndarray dy not None, cnp.ndarray dx not None):
    """dx = dy f'(x) on M rows of N; x may be left out where y is enough."""
    cdef const tdf_table *table = _table(y)
    cdef int kind = cnp.PyArray_TYPE(y)
    cdef tdf_act a
    memset(&a, 0, sizeof(a))
    _bounded(M, N)
    a.threads, a.act, a.M, a.N = _threads(), _check_act(act), M, N
    a.x = <real *>_ptr(x, M * N, kind, "x")
    _check_input(act, a.x, "x")
    a.y = <real *>_ptr(y, M * N, kind, "y")
    a.dy = <real *>_ptr(dy, M * N, kind, "dy")
    a.dx = <real *>_out(dx, M * N, kind, "dx")
    _make(table, TDF_CALL_act_backward, &a, sizeof(a))


# ---------------------------------------------------------------------- Dense

def dense_pack_size(ptrdiff_t K, ptrdiff_t N):
    """Elements of dense_pack's result."""
    _bounded(K, N)
    return tdf_dense_pack_size(K, N)


def dense_scratch_size(ptrdiff_t K, ptrdiff_t N):
    """Elements of dense_backward's scratch."""
    _bounded(K, N)
    return tdf_dense_scratch_size(K, N, _threads())


def dense_pack(ptrdiff_t K, ptrdiff_t N, cnp.ndarray kernel not None, cnp.ndarray packed not None):
    """Lay the kernel (K, N) out for dense_forward."""
    cdef const tdf_table *table = _table(kernel)
    cdef int kind = cnp.PyArray_TYPE(kernel)
    cdef tdf_dense d
    memset(&d, 0, sizeof(d))
    _bounded(K, N)
    d.threads, d.K, d.N = _threads(), K, N
    d.kernel = <real *>_ptr(kernel, K * N, kind, "kernel")
    d.packed = <real *>_out(packed, tdf_dense_pack_size(K, N), kind, "packed")
    _make(table, TDF_CALL_dense_pack, &d, sizeof(d))


def dense_forward(*, int act, ptrdiff_t M, ptrdiff_t K, ptrdiff_t N, cnp.ndarray x not None,
                  cnp.ndarray packed not None, cnp.ndarray bias=None, cnp.ndarray z=None,
                  cnp.ndarray y not None):
    """y = act(x kernel + bias) for M rows; z, if given, keeps the rows before the activation."""
    cdef const tdf_table *table = _table(x)
    cdef int kind = cnp.PyArray_TYPE(x)
    cdef tdf_dense d
    memset(&d, 0, sizeof(d))
    _bounded(M, K, N)
    d.threads, d.act, d.M, d.K, d.N = _threads(), _check_act(act), M, K, N
    d.x = <real *>_ptr(x, M * K, kind, "x")
    d.packed = <real *>_ptr(packed, tdf_dense_pack_size(K, N), kind, "packed")
    d.bias = <real *>_ptr(bias, N, kind, "bias")
    d.z = <real *>_out(z, M * N, kind, "z")
    d.y = <real *>_out(y, M * N, kind, "y")
    _make(table, TDF_CALL_dense_forward, &d, sizeof(d))


def dense_backward(*, int act, ptrdiff_t M, ptrdiff_t K, ptrdiff_t N, cnp.ndarray x not None,
                   cnp.ndarray kernel not None, cnp.ndarray z=None, cnp.ndarray y not None,
                   cnp.ndarray dy not None, cnp.ndarray dz not None, cnp.ndarray dx=None,
                   cnp.ndarray dkernel not None, cnp.ndarray dbias=None, cnp.ndarray scratch not None):
    """The gradients of dense_forward; dz may be dy."""
    cdef const tdf_table *table = _table(x)
    cdef int kind = cnp.PyArray_TYPE(x)
    cdef tdf_dense d
    memset(&d, 0, sizeof(d))
    _bounded(M, K, N)
    d.threads, d.act, d.M, d.K, d.N = _threads(), _check_act(act), M, K, N
    d.x = <real *>_ptr(x, M * K, kind, "x")
    d.kernel = <real *>_ptr(kernel, K * N, kind, "kernel")
    d.z = <real *>_ptr(z, M * N, kind, "z")
    _check_input(act, d.z, "z")
    d.y = <real *>_ptr(y, M * N, kind, "y")
    d.dy = <real *>_ptr(dy, M * N, kind, "dy")
    d.dz = <real *>_out(dz, M * N, kind, "dz")
    d.dx = <real *>_out(dx, M * K, kind, "dx")
    d.dkernel = <real *>_out(dkernel, K * N, kind, "dkernel")
    d.dbias = <real *>_out(dbias, N, kind, "dbias")
    d.scratch = <real *>_out(scratch, tdf_dense_scratch_size(K, N, d.threads), kind, "scratch")
    _make(table, TDF_CALL_dense_backward, &d, sizeof(d))


# ---------------------------------------------------------------------- convolution and pooling

cdef class ConvSizes:
    """The sizes of a convolution, which fit each other: the fields of tdf_conv, by name.

    >>> sizes = ConvSizes(groups=1, N=2, H=1, W=9, C=4, F=8, kh=1, kw=3, sh=1, sw=2, dh=1, dw=1,
    ...                   top=0, left=0, Hp=1, Wp=9, Ho=1, Wo=4)
    >>> sizes.output(3)
    (2, 4, 8)
    """

    cdef tdf_conv a

    def __cinit__(self, *, ptrdiff_t groups, ptrdiff_t N, ptrdiff_t H, ptrdiff_t W, ptrdiff_t C, ptrdiff_t F,
                  ptrdiff_t kh, ptrdiff_t kw, ptrdiff_t sh, ptrdiff_t sw, ptrdiff_t dh, ptrdiff_t dw,
                  ptrdiff_t top, ptrdiff_t left, ptrdiff_t Hp, ptrdiff_t Wp, ptrdiff_t Ho, ptrdiff_t Wo,
                  ptrdiff_t D=1, ptrdiff_t kd=1, ptrdiff_t sd=1, ptrdiff_t dd=1, ptrdiff_t front=0,
                  ptrdiff_t Dp=1, ptrdiff_t Do=1):
        memset(&self.a, 0, sizeof(self.a))
        self.a.groups, self.a.N, self.a.H, self.a.W, self.a.C = groups, N, H, W, C
        self.a.F, self.a.kh, self.a.kw, self.a.sh, self.a.sw = F, kh, kw, sh, sw
        self.a.dh, self.a.dw, self.a.top, self.a.left = dh, dw, top, left
        self.a.Hp, self.a.Wp, self.a.Ho, self.a.Wo = Hp, Wp, Ho, Wo
        self.a.D, self.a.kd, self.a.sd, self.a.dd = D, kd, sd, dd
        self.a.front, self.a.Dp, self.a.Do = front, Dp, Do
        _bounded(Dp, kd, kw)
        _bounded(N, Hp, Wp, C, F, kh, Dp * kd * kw)
        _bounded(sd, sh, sw)
        _bounded(dd, dh, dw)
        _bounded(front, top, left)
        _bounded(D, H, W)
        _bounded(Do, Ho, Wo)
        fits = (
            min(groups, H, W, C, F, kh, kw) >= 1 and min(sh, sw, dh, dw, Ho, Wo) >= 1
            and min(D, kd, sd, dd, Do) >= 1
            and C % groups == 0 and F % groups == 0
            and top + H <= Hp and left + W <= Wp and front + D <= Dp
            and (Do - 1.0) * sd + (kd - 1.0) * dd < Dp
            and (Ho - 1.0) * sh + (kh - 1.0) * dh < Hp
            and (Wo - 1.0) * sw + (kw - 1.0) * dw < Wp
        )
        if not fits:
            raise ValueError(
                f"convolution of sizes that do not fit: {groups=} {N=} {H=} {W=} {C=} {F=} {kh=} {kw=} {sh=} "
                f"{sw=} {dh=} {dw=} {top=} {left=} {Hp=} {Wp=} {Ho=} {Wo=} {D=} {kd=} {sd=} {dd=} {front=} "
                f"{Dp=} {Do=}")

    cdef tdf_conv struct(self):
        """These sizes and the number of threads; no arrays yet."""
        cdef tdf_conv a = self.a
        a.threads = _threads()
        return a

    def output(self, int rank):
        """The output's shape for inputs of so many axes: (N, Do, Ho, Wo, F), without Do of images and without
        Ho of sequences."""
        return (self.a.N, *(self.a.Do, self.a.Ho, self.a.Wo)[5 - rank:], self.a.F)

    @property
    def pack_size(self):
        """Elements of conv_pack's result."""
        cdef tdf_conv a = self.struct()
        return tdf_conv_pack_size(&a)

    @property
    def forward_size(self):
        """Elements of the scratch of conv_forward."""
        cdef tdf_conv a = self.struct()
        return tdf_conv_infer_size(&a)

    @property
    def backward_size(self):
        """Elements of the scratch of conv_backward."""
        cdef tdf_conv a = self.struct()
        return tdf_conv_scratch_size(&a)

    @property
    def transpose_size(self):
        """Elements of the scratch of conv_transpose."""
        cdef tdf_conv a = self.struct()
        return tdf_conv_transpose_size(&a)


def conv_pack(ConvSizes sizes not None, cnp.ndarray kernel not None, cnp.ndarray packed not None):
    """Lay the kernel (kd, kh, kw, C / groups, F) out for conv_forward."""
    cdef const tdf_table *table = _table(kernel)
    cdef int kind = cnp.PyArray_TYPE(kernel)
    cdef tdf_conv a = sizes.struct()
    a.kernel = <real *>_ptr(kernel, a.kd * a.kh * a.kw * (a.C // a.groups) * a.F, kind, "kernel")
    a.packed = <real *>_out(packed, tdf_conv_pack_size(&a), kind, "packed")
    _make(table, TDF_CALL_conv_pack, &a, sizeof(a))


def conv_forward(ConvSizes sizes not None, *, int act, cnp.ndarray x not None, cnp.ndarray packed not None,
                 cnp.ndarray bias=None, cnp.ndarray z=None, cnp.ndarray y not None,
                 cnp.ndarray scratch not None):
    """y = act(x * kernel + bias) on N volumes; z, if given, keeps them before the activation."""
    cdef const tdf_table *table = _table(x)
    cdef int kind = cnp.PyArray_TYPE(x)
    cdef tdf_conv a = sizes.struct()
    a.act = _check_act(act)
    cdef ptrdiff_t out = a.N * a.Do * a.Ho * a.Wo * a.F
    a.x = <real *>_ptr(x, a.N * a.D * a.H * a.W * a.C, kind, "x")
    a.packed = <real *>_ptr(packed, tdf_conv_pack_size(&a), kind, "packed")
    a.bias = <real *>_ptr(bias, a.F, kind, "bias")
    a.z = <real *>_out(z, out, kind, "z")
    a.y = <real *>_out(y, out, kind, "y")
    a.scratch = <real *>_out(scratch, tdf_conv_infer_size(&a), kind, "scratch")
    _make(table, TDF_CALL_conv_forward, &a, sizeof(a))


def conv_backward(ConvSizes sizes not None, *, int act, cnp.ndarray x not None, cnp.ndarray kernel not None,
                  cnp.ndarray z=None, cnp.ndarray y=None, cnp.ndarray dy not None, cnp.ndarray dx=None,
                  cnp.ndarray dkernel not None, cnp.ndarray dbias=None, cnp.ndarray scratch not None):
    """The gradients of conv_forward; dy is overwritten, unless the activation is linear, which needs no y."""
    cdef const tdf_table *table = _table(x)
    cdef int kind = cnp.PyArray_TYPE(x)
    cdef tdf_conv a = sizes.struct()
    a.act = _check_act(act)
    cdef ptrdiff_t weights = a.kd * a.kh * a.kw * (a.C // a.groups) * a.F
    cdef ptrdiff_t out = a.N * a.Do * a.Ho * a.Wo * a.F
    a.x = <real *>_ptr(x, a.N * a.D * a.H * a.W * a.C, kind, "x")
    a.kernel = <real *>_ptr(kernel, weights, kind, "kernel")
    a.z = <real *>_ptr(z, out, kind, "z")
    _check_input(act, a.z, "z")
    a.y = <real *>_ptr(y, out, kind, "y")
    if a.y == NULL and act != TDF_LINEAR:
        raise ValueError("y: only the gradient of a linear convolution does without it")
    a.dy = <real *>(_ptr(dy, out, kind, "dy") if act == TDF_LINEAR else _out(dy, out, kind, "dy"))
    a.dx = <real *>_out(dx, a.N * a.D * a.H * a.W * a.C, kind, "dx")
    a.dkernel = <real *>_out(dkernel, weights, kind, "dkernel")
    a.dbias = <real *>_out(dbias, a.F, kind, "dbias")
    a.scratch = <real *>_out(scratch, tdf_conv_scratch_size(&a), kind, "scratch")
    _make(table, TDF_CALL_conv_backward, &a, sizeof(a))


def conv_transpose(ConvSizes sizes not None, *, int act, cnp.ndarray x not None,
                   cnp.ndarray kernel not None, cnp.ndarray bias=None, cnp.ndarray z=None,
                   cnp.ndarray y not None, cnp.ndarray scratch not None):
    """y = act(bias + the dx of a convolution of these sizes with dy = x); z, if given, is y before act."""
    cdef const tdf_table *table = _table(x)
    cdef int kind = cnp.PyArray_TYPE(x)
    cdef tdf_conv a = sizes.struct()
    if a.groups != 1:
        raise ValueError(f"a transposed convolution has one group, got {a.groups}")
    a.act = _check_act(act)
    cdef ptrdiff_t out = a.N * a.D * a.H * a.W * a.C
    a.dy = <real *>_ptr(x, a.N * a.Do * a.Ho * a.Wo * a.F, kind, "x")
    a.kernel = <real *>_ptr(kernel, a.kd * a.kh * a.kw * a.C * a.F, kind, "kernel")
    a.bias = <real *>_ptr(bias, a.C, kind, "bias")
    a.z = <real *>_out(z, out, kind, "z")
    a.y = <real *>_out(y, out, kind, "y")
    a.scratch = <real *>_out(scratch, tdf_conv_transpose_size(&a), kind, "scratch")
    _make(table, TDF_CALL_conv_transpose, &a, sizeof(a))


cdef class AttentionSizes:
    """The sizes and options of attention, which fit each other: the fields of tdf_attention, by name.

    >>> sizes = AttentionSizes(B=2, T=5, S=7, H=4, G=2, D=3, E=6)
    >>> sizes.output
    (2, 5, 4, 6)
    """

    cdef tdf_attention a

    def __cinit__(self, *, ptrdiff_t B, ptrdiff_t T, ptrdiff_t S, ptrdiff_t H, ptrdiff_t G, ptrdiff_t D,
                  ptrdiff_t E, double scale=1, bint causal=False, ptrdiff_t window=0, bint moved=False,
                  bint zero=False):
        memset(&self.a, 0, sizeof(self.a))
        self.a.B, self.a.T, self.a.S, self.a.H, self.a.G, self.a.D, self.a.E = B, T, S, H, G, D, E
        self.a.scale, self.a.causal, self.a.window = scale, causal, window
        self.a.moved, self.a.zero = moved, zero
        _bounded(B, T, H, D, E)
        _bounded(B, S, H, D, E)
        _bounded(B, T, S, H, max(D, E))
        _bounded(window)
        if min(H, G, D, E) < 1 or H % G:
            raise ValueError(f"attention of sizes that do not fit: {B=} {T=} {S=} {H=} {G=} {D=} {E=}")

    @property
    def output(self):
        """The shape of y."""
        return self.a.B, self.a.T, self.a.H, self.a.E

    @property
    def stats(self):
        """The shape of what forward leaves for backward: two numbers a row."""
        return self.a.B, self.a.H, self.a.T, 2

    @property
    def scratch_size(self):
        """Elements of scratch."""
        cdef tdf_attention a = self.a
        a.threads = _threads()
        return tdf_attention_scratch_size(&a)

    cdef int take(self, tdf_attention *to, int kind, object q, object k, object v, object queries,
                  object keys, object mask, object y, object stats, object scratch) except -1:
        """These sizes with the arrays that both passes read."""
        cdef tdf_attention a = self.a
        cdef cnp.ndarray m
        a.threads = _threads()
        a.q = <real *>_ptr(q, a.B * a.T * a.H * a.D, kind, "q")
        a.k = <real *>_ptr(k, a.B * a.S * a.G * a.D, kind, "k")
        a.v = <real *>_ptr(v, a.B * a.S * a.G * a.E, kind, "v")
        a.queries = <const uint8_t *>_ptr(queries, a.B * a.T, cnp.NPY_BOOL, "queries")
        a.keys = <const uint8_t *>_ptr(keys, a.B * a.S, cnp.NPY_BOOL, "keys")
        if mask is not None:
            abandon()
            m = mask
            if (cnp.PyArray_TYPE(m) != cnp.NPY_BOOL
                    or (<object>m).shape != (a.B, a.H, a.T, a.S)):
                raise ValueError(
                    f"mask: expected booleans {(a.B, a.H, a.T, a.S)}, got {m.dtype} {(<object>m).shape}")
            a.mask = <const uint8_t *>cnp.PyArray_DATA(m)
            a.mask_b, a.mask_h, a.mask_t, a.mask_s = (<object>m).strides
        a.y = <real *>_ptr(y, a.B * a.T * a.H * a.E, kind, "y")
        a.stats = <real *>_ptr(stats, a.B * a.H * a.T * 2, kind, "stats")
        a.scratch = <real *>_out(scratch, tdf_attention_scratch_size(&a), kind, "scratch")
        to[0] = a
        return 0


def attention_forward(AttentionSizes sizes not None, *, cnp.ndarray q not None, cnp.ndarray k not None,
                      cnp.ndarray v not None, cnp.ndarray queries=None, cnp.ndarray keys=None,
                      cnp.ndarray mask=None, cnp.ndarray y not None, cnp.ndarray stats not None,
                      cnp.ndarray scratch not None):
    """y = softmax(scale q k^T) v of every head. The masks are booleans, False for what is not seen: queries
    (B, T), keys (B, S), and mask (B, H, T, S) of any strides."""
    cdef const tdf_table *table = _table(q)
    cdef int kind = cnp.PyArray_TYPE(q)
    cdef tdf_attention a
    sizes.take(&a, kind, q, k, v, queries, keys, mask, y, stats, scratch)
    _out(y, 0, kind, "y")
    _out(stats, 0, kind, "stats")
    _make(table, TDF_CALL_attention_forward, &a, sizeof(a))


def attention_backward(AttentionSizes sizes not None, *, cnp.ndarray q not None, cnp.ndarray k not None,
                       cnp.ndarray v not None, cnp.ndarray queries=None, cnp.ndarray keys=None,
                       cnp.ndarray mask=None, cnp.ndarray y not None, cnp.ndarray stats not None,
                       cnp.ndarray dy not None, cnp.ndarray dq not None, cnp.ndarray dk not None,
                       cnp.ndarray dv not None, cnp.ndarray scratch not None):
    """The gradients of attention_forward, which left y and stats."""
    cdef const tdf_table *table = _table(q)
    cdef int kind = cnp.PyArray_TYPE(q)
    cdef tdf_attention a
    sizes.take(&a, kind, q, k, v, queries, keys, mask, y, stats, scratch)
    a.dy = <real *>_ptr(dy, a.B * a.T * a.H * a.E, kind, "dy")
    a.dq = <real *>_out(dq, a.B * a.T * a.H * a.D, kind, "dq")
    a.dk = <real *>_out(dk, a.B * a.S * a.G * a.D, kind, "dk")
    a.dv = <real *>_out(dv, a.B * a.S * a.G * a.E, kind, "dv")
    _make(table, TDF_CALL_attention_backward, &a, sizeof(a))


def sums_scratch_size(ptrdiff_t N):
    """Elements of column_sums' scratch."""
    _bounded(N)
    return tdf_sums_scratch_size(N)


def column_sums(ptrdiff_t M, ptrdiff_t N, cnp.ndarray x not None, cnp.ndarray scratch not None,
                cnp.ndarray sums not None):
    """sums (N) = the sum of the rows of x (M, N)."""
    cdef const tdf_table *table = _table(x)
    cdef int kind = cnp.PyArray_TYPE(x)
    cdef tdf_sums a
    memset(&a, 0, sizeof(a))
    _bounded(M, N)
    a.threads, a.M, a.N = _threads(), M, N
    a.x = <real *>_ptr(x, M * N, kind, "x")
    a.scratch = <real *>_out(scratch, tdf_sums_scratch_size(N), kind, "scratch")
    a.sums = <real *>_out(sums, N, kind, "sums")
    _make(table, TDF_CALL_column_sums, &a, sizeof(a))


BLENDS = {"copy": TDF_BLEND_COPY, "add": TDF_BLEND_ADD, "multiply": TDF_BLEND_MULTIPLY}


def blend(str rule not None, cnp.ndarray y not None, cnp.ndarray x not None):
    """y = x, y + x or y x, by the rule, of two views of one shape, which share no memory unless they are one.

    Returns:
        False, with nothing done, where more than three axes are left when those that go on from each other
        are taken together, in y and in x, and where all of the last axis is one number.
    """
    cdef const tdf_table *table = _table(y)
    cdef int kind = cnp.PyArray_TYPE(y), axis, left = 0
    cdef ptrdiff_t size = cnp.PyArray_ITEMSIZE(y), n, x_step, y_step
    cdef ptrdiff_t[4] sizes, x_steps, y_steps
    cdef tdf_blend a
    memset(&a, 0, sizeof(a))
    if rule not in BLENDS:
        raise ValueError(f"rule must be one of {list(BLENDS)}, got {rule!r}")
    if cnp.PyArray_TYPE(x) != kind or (<object>x).shape != (<object>y).shape:
        raise ValueError(f"x is {x.dtype} {(<object>x).shape}, but y is {y.dtype} {(<object>y).shape}")
    for name, view in (("x", x), ("y", y)):
        if not cnp.PyArray_ISALIGNED(view) or not cnp.PyArray_ISNOTSWAPPED(view):
            raise ValueError(f"{name}: must be aligned and in this machine's byte order")
    if not cnp.PyArray_ISWRITEABLE(y):
        raise ValueError("y: must be writeable")
    if not cnp.PyArray_SIZE(y):
        return True
    for axis in range(y.ndim - 1, -1, -1):
        n, x_step, y_step = y.shape[axis], x.strides[axis], y.strides[axis]
        if n == 1:
            continue
        if x_step % size or y_step % size:
            raise ValueError("strides must be whole elements")
        x_step, y_step = x_step // size, y_step // size
        if left == 0 and x_step == 0:
            return False
        if left == 0 and (x_step != 1 or y_step != 1):
            sizes[0], x_steps[0], y_steps[0], left = 1, 1, 1, 1
        if left and x_step == sizes[left - 1] * x_steps[left - 1] and (
                y_step == sizes[left - 1] * y_steps[left - 1]):
            sizes[left - 1] *= n
            continue
        if left == 3:
            return False
        sizes[left], x_steps[left], y_steps[left] = n, x_step, y_step
        left += 1
    while left < 3:
        sizes[left], x_steps[left], y_steps[left] = 1, 0, 0
        left += 1
    _bounded(sizes[0], sizes[1], sizes[2])
    a.threads, a.rule, a.N, a.Q, a.P = _threads(), BLENDS[rule], sizes[0], sizes[1], sizes[2]
    a.x, a.x_inner, a.x_outer = <const real *>cnp.PyArray_DATA(x), x_steps[1], x_steps[2]
    a.y, a.y_inner, a.y_outer = <real *>cnp.PyArray_DATA(y), y_steps[1], y_steps[2]
    if tdf_recorder != NULL:
        (<Program>tdf_recorder).memory.append((x, y))
    _make(table, TDF_CALL_blend, &a, sizeof(a))
    return True


def dropout(cnp.ndarray state not None, uint32_t threshold, double kept, cnp.ndarray factors not None):
    """Fill factors with 0 for random words of 32 bits below the threshold, else with ``kept``; the state, the
    seed and the number of draws so far, counts this one."""
    cdef const tdf_table *table = _table(factors)
    cdef tdf_dropout a
    memset(&a, 0, sizeof(a))
    a.n, a.threshold, a.kept = factors.size, threshold, kept
    a.state = <uint32_t *>_out(state, 2, cnp.NPY_UINT32, "state")
    a.factors = <real *>_out(factors, a.n, cnp.PyArray_TYPE(factors), "factors")
    _make(table, TDF_CALL_dropout, &a, sizeof(a))


def multiply(ptrdiff_t B, ptrdiff_t T, ptrdiff_t N, cnp.ndarray x not None, cnp.ndarray factors not None,
             cnp.ndarray y not None):
    """y (B, T, N) = x times the factors (B, N), which T rows share."""
    cdef const tdf_table *table = _table(x)
    cdef int kind = cnp.PyArray_TYPE(x)
    cdef tdf_product a
    memset(&a, 0, sizeof(a))
    _bounded(B, T, N)
    a.threads, a.B, a.T, a.N = _threads(), B, T, N
    a.x = <real *>_ptr(x, B * T * N, kind, "x")
    a.factors = <real *>_ptr(factors, B * N, kind, "factors")
    a.y = <real *>_out(y, B * T * N, kind, "y")
    _make(table, TDF_CALL_multiply, &a, sizeof(a))


def layer_norm_scratch_size(ptrdiff_t N):
    """Elements of layer_norm_backward's scratch."""
    _bounded(N)
    return tdf_layer_norm_scratch_size(N)


def layer_norm_forward(ptrdiff_t M, ptrdiff_t N, double epsilon, *, cnp.ndarray x not None,
                       cnp.ndarray gamma=None, cnp.ndarray beta=None, cnp.ndarray normal=None,
                       cnp.ndarray inverse=None, cnp.ndarray y not None):
    """y = normal gamma + beta, with normal the M rows of x brought to mean 0 and variance 1."""
    cdef const tdf_table *table = _table(x)
    cdef int kind = cnp.PyArray_TYPE(x)
    cdef tdf_layer_norm a
    memset(&a, 0, sizeof(a))
    _bounded(M, N)
    a.threads, a.M, a.N, a.epsilon = _threads(), M, N, epsilon
    a.x = <real *>_ptr(x, M * N, kind, "x")
    a.gamma = <real *>_ptr(gamma, N, kind, "gamma")
    a.beta = <real *>_ptr(beta, N, kind, "beta")
    a.normal = <real *>_out(normal, M * N, kind, "normal")
    a.inverse = <real *>_out(inverse, M, kind, "inverse")
    a.y = <real *>_out(y, M * N, kind, "y")
    _make(table, TDF_CALL_layer_norm_forward, &a, sizeof(a))


def layer_norm_backward(ptrdiff_t M, ptrdiff_t N, *, cnp.ndarray gamma=None, cnp.ndarray normal not None,
                        cnp.ndarray inverse not None, cnp.ndarray dy not None, cnp.ndarray dx=None,
                        cnp.ndarray dgamma=None, cnp.ndarray dbeta=None, cnp.ndarray scratch not None):
    """The gradients of layer_norm_forward, which left normal and inverse."""
    cdef const tdf_table *table = _table(dy)
    cdef int kind = cnp.PyArray_TYPE(dy)
    cdef tdf_layer_norm a
    memset(&a, 0, sizeof(a))
    _bounded(M, N)
    a.threads, a.M, a.N = _threads(), M, N
    a.gamma = <real *>_ptr(gamma, N, kind, "gamma")
    a.normal = <real *>_ptr(normal, M * N, kind, "normal")
    a.inverse = <real *>_ptr(inverse, M, kind, "inverse")
    a.dy = <real *>_ptr(dy, M * N, kind, "dy")
    a.dx = <real *>_out(dx, M * N, kind, "dx")
    a.dgamma = <real *>_out(dgamma, N, kind, "dgamma")
    a.dbeta = <real *>_out(dbeta, N, kind, "dbeta")
    a.scratch = <real *>_out(scratch, tdf_layer_norm_scratch_size(N), kind, "scratch")
    _make(table, TDF_CALL_layer_norm_backward, &a, sizeof(a))


cdef class PoolSizes:
    """The sizes of a pooling, which fit each other: the fields of tdf_pool, by name."""

    cdef tdf_pool a

    def __cinit__(self, *, ptrdiff_t N, ptrdiff_t H, ptrdiff_t W, ptrdiff_t C, ptrdiff_t kh, ptrdiff_t kw,
                  ptrdiff_t sh, ptrdiff_t sw, ptrdiff_t top, ptrdiff_t left, ptrdiff_t Ho, ptrdiff_t Wo,
                  ptrdiff_t D=1, ptrdiff_t kd=1, ptrdiff_t sd=1, ptrdiff_t front=0, ptrdiff_t Do=1,
                  bint adaptive=False):
        memset(&self.a, 0, sizeof(self.a))
        self.a.N, self.a.H, self.a.W, self.a.C, self.a.kh, self.a.kw = N, H, W, C, kh, kw
        self.a.sh, self.a.sw, self.a.top, self.a.left, self.a.Ho, self.a.Wo = sh, sw, top, left, Ho, Wo
        self.a.D, self.a.kd, self.a.sd, self.a.front, self.a.Do = D, kd, sd, front, Do
        self.a.adaptive = adaptive
        _bounded(N, max(D, Do), max(H, Ho), max(W, Wo), C)
        _bounded(D, H, W)
        _bounded(Do, Ho, Wo)
        for size in (kd, kh, kw, sd, sh, sw, front, top, left):
            _bounded(size)
        if adaptive:
            for size, out in ((D, Do), (H, Ho), (W, Wo)):
                _bounded(size, out)
        fits = min(kd, kh, kw, sd, sh, sw) >= 1 and min(Do, Ho, Wo) >= 1 and (
            min(D, H, W) >= 1 if adaptive else
            front < kd and top < kh and left < kw and (Do - 1.0) * sd - front <= D
            and (Ho - 1.0) * sh - top <= H and (Wo - 1.0) * sw - left <= W
        )
        if not fits:
            raise ValueError(
                f"pooling of sizes that do not fit: {N=} {H=} {W=} {C=} {kh=} {kw=} {sh=} {sw=} {top=} "
                f"{left=} {Ho=} {Wo=} {D=} {kd=} {sd=} {front=} {Do=} {adaptive=}")

    cdef tdf_pool struct(self, bint mean):
        """These sizes, what is taken of a window and the number of threads; no arrays yet."""
        cdef tdf_pool a = self.a
        a.threads, a.mean = _threads(), mean
        return a

    def output(self, int rank):
        """The output's shape for inputs of so many axes: (N, Do, Ho, Wo, C), without Do of images and without
        Ho of sequences."""
        return (self.a.N, *(self.a.Do, self.a.Ho, self.a.Wo)[5 - rank:], self.a.C)


def pool_forward(PoolSizes sizes not None, *, bint mean, cnp.ndarray x not None, cnp.ndarray mask=None,
                 cnp.ndarray y not None):
    """y = the largest or mean value of each window of N volumes; mask: bool or uint8 (N, D, H, W)."""
    cdef const tdf_table *table = _table(x)
    cdef int kind = cnp.PyArray_TYPE(x)
    cdef tdf_pool a = sizes.struct(mean)
    a.x = <real *>_ptr(x, a.N * a.D * a.H * a.W * a.C, kind, "x")
    a.mask = <uint8_t *>_ptr(mask, a.N * a.D * a.H * a.W, cnp.NPY_BOOL, "mask")
    a.y = <real *>_out(y, a.N * a.Do * a.Ho * a.Wo * a.C, kind, "y")
    _make(table, TDF_CALL_pool_forward, &a, sizeof(a))


def pool_backward(PoolSizes sizes not None, *, bint mean, cnp.ndarray x=None, cnp.ndarray mask=None,
                  cnp.ndarray y=None, cnp.ndarray dy not None, cnp.ndarray dx not None):
    """dx of pool_forward; the mean needs neither x nor y."""
    cdef const tdf_table *table = _table(dy)
    cdef int kind = cnp.PyArray_TYPE(dy)
    cdef tdf_pool a = sizes.struct(mean)
    if not mean and (x is None or y is None):
        raise ValueError("the gradient of a maximum needs x and y")
    a.x = <real *>_ptr(x, a.N * a.D * a.H * a.W * a.C, kind, "x")
    a.mask = <uint8_t *>_ptr(mask, a.N * a.D * a.H * a.W, cnp.NPY_BOOL, "mask")
    a.y = <real *>_ptr(y, a.N * a.Do * a.Ho * a.Wo * a.C, kind, "y")
    a.dy = <real *>_ptr(dy, a.N * a.Do * a.Ho * a.Wo * a.C, kind, "dy")
    a.dx = <real *>_out(dx, a.N * a.D * a.H * a.W * a.C, kind, "dx")
    _make(table, TDF_CALL_pool_backward, &a, sizeof(a))


# ---------------------------------------------------------------------- LSTM, GRU and SimpleRNN

def rnn_gates(int cell):
    """How many gates a cell (a number of CELLS) has."""
    return tdf_rnn_gates(_check_cell(cell))


cdef inline int _check_cell(int cell) except -1:
    if cell < 0 or cell >= TDF_CELLS:
        raise ValueError(f"unknown cell number {cell}")
    return cell


cdef inline ptrdiff_t _cell(tdf_rnn *a, int cell, ptrdiff_t I, ptrdiff_t H,
                            ptrdiff_t B=1, ptrdiff_t T=1) except -1:
    """Start the struct; gives the width of all gates together."""
    _bounded(I, H)
    _bounded(B, T, I + H, H)
    a.cell = _check_cell(cell)
    a.threads, a.B, a.T, a.I, a.H = _threads(), B, T, I, H
    return tdf_rnn_gates(cell) * H


cdef inline ptrdiff_t _rnn(tdf_rnn *a, int cell, tuple sizes, tuple acts) except -1:
    """Start the struct with sizes (B, T, I, H) and the numbers of the two activations; gives their width."""
    cdef ptrdiff_t B, T, I, H
    cdef int act, rec_act
    B, T, I, H = sizes
    act, rec_act = acts
    a.act, a.rec_act = _check_act(act), _check_act(rec_act)
    return _cell(a, cell, I, H, B, T)


def rnn_sizes(int cell, tuple sizes not None, tuple acts not None):
    """Elements of (the tape, the scratch with a tape, the scratch without one); see rnn_forward."""
    cdef tdf_rnn a
    memset(&a, 0, sizeof(a))
    _rnn(&a, cell, sizes, acts)
    return tdf_rnn_tape_size(&a), tdf_rnn_scratch_size(&a), tdf_rnn_infer_size(&a)


def rnn_pack_size(int cell, ptrdiff_t I, ptrdiff_t H):
    """Elements of rnn_pack's result."""
    cdef tdf_rnn a
    memset(&a, 0, sizeof(a))
    _cell(&a, cell, I, H)
    return tdf_rnn_pack_size(&a)


def rnn_pack(int cell, ptrdiff_t I, ptrdiff_t H, *, cnp.ndarray kernel not None,
             cnp.ndarray recurrent not None, cnp.ndarray bias=None, cnp.ndarray packed not None):
    """Lay the weights out for rnn_forward."""
    cdef const tdf_table *table = _table(kernel)
    cdef int kind = cnp.PyArray_TYPE(kernel)
    cdef tdf_rnn a
    memset(&a, 0, sizeof(a))
    cdef ptrdiff_t width = _cell(&a, cell, I, H)
    a.kernel = <real *>_ptr(kernel, I * width, kind, "kernel")
    a.recurrent = <real *>_ptr(recurrent, H * width, kind, "recurrent")
    a.bias = <real *>_ptr(bias, width * tdf_rnn_biases(cell), kind, "bias")
    a.packed = <real *>_out(packed, tdf_rnn_pack_size(&a), kind, "packed")
    _make(table, TDF_CALL_rnn_pack, &a, sizeof(a))


cdef inline bint _ascending(const ptrdiff_t *steps, ptrdiff_t n, ptrdiff_t end) noexcept nogil:
    cdef ptrdiff_t i, last = -1
    for i in range(n):
        if steps[i] <= last:
            return False
        last = steps[i]
    return last < end


cdef inline bint _counts(const tdf_rnn *a) noexcept nogil:
    """Whether rows_before follows from starts, with the rows with most steps first."""
    cdef ptrdiff_t t, live = a.B
    if a.rows_before[0] != 0:
        return False
    for t in range(a.T + 1):
        while live > 0 and a.starts[live] - a.starts[live - 1] <= t:
            live -= 1
        if a.rows_before[t + 1] != a.rows_before[t] + live:
            return False
    return True


cdef ptrdiff_t _steps(tdf_rnn *a, tuple steps, bint packed_steps) except -1:
    """Where the steps lie that a mask leaves, nothing of which may point elsewhere; gives their number."""
    cdef ptrdiff_t b, n, count, last, B = a.B, T = a.T
    a.packed_steps = packed_steps
    if steps is None:
        if packed_steps:
            raise ValueError("packed_steps goes with a mask")
        return B * T
    row, starts, at, before = steps
    if row is None or starts is None or before is None or not isinstance(at, cnp.ndarray):
        raise ValueError("steps: row, starts, steps and rows_before must all be arrays")
    n = cnp.PyArray_SIZE(at)
    a.row = <ptrdiff_t *>_ptr(row, B, cnp.NPY_INTP, "row")
    a.starts = <ptrdiff_t *>_ptr(starts, B + 1, cnp.NPY_INTP, "starts")
    a.steps = <ptrdiff_t *>_ptr(at, n, cnp.NPY_INTP, "steps")
    a.rows_before = <ptrdiff_t *>_ptr(before, T + 2, cnp.NPY_INTP, "rows_before")
    if a.starts[0] != 0 or a.starts[B] != n:
        raise ValueError("starts must run from 0 to the number of steps")
    seen = bytearray(B)
    last = T
    for b in range(B):
        if not 0 <= a.row[b] < B or seen[a.row[b]]:
            raise ValueError("row must hold each row once")
        seen[a.row[b]] = 1
        count = a.starts[b + 1] - a.starts[b]
        if count < 0 or count > last:
            raise ValueError("the rows with most steps must come first")
        last = count
    for b in range(B):
        if not _ascending(a.steps + a.starts[b], a.starts[b + 1] - a.starts[b], T):
            raise ValueError("the steps of a row must ascend")
    if not _counts(a):
        raise ValueError("rows_before must say how many rows have each step")
    return n


cdef extern from *:
    """
    static _Thread_local void *tdf_pair;        /* the Pair that holds this thread's calls back, or NULL */
    """
    void *tdf_pair


cdef class Pair:
    """In a block ``with Pair():`` two calls of rnn_forward, or of rnn_backward, are held back; at its end
    they run at once. So neither may read what the other writes, and nobody what they write within the block.
    """

    cdef tdf_rnn_pair calls
    cdef const tdf_table *table
    cdef int kernel, held
    cdef list memory            # the arrays that they know
    cdef void *outer

    def __enter__(self):
        global tdf_pair
        self.held, self.memory = 0, []
        self.outer, tdf_pair = tdf_pair, <void *>self

    def __exit__(self, kind, *error):
        global tdf_pair
        tdf_pair = self.outer
        if kind is not None:
            return
        if self.held != 2:
            raise ValueError(f"a pair is of two calls, got {self.held}")
        _make(self.table, self.kernel, &self.calls, sizeof(self.calls))
        self.memory = None

    cdef int hold(self, const tdf_table *table, int kernel, const tdf_rnn *a, tuple arrays) except -1:
        if self.held == 2 or self.held and (self.table != table or self.kernel != kernel):
            raise ValueError("a pair is of two calls, of one kernel and one dtype")
        if self.held:
            self.calls.other = a[0]
        else:
            self.calls.one, self.table, self.kernel = a[0], table, kernel
        self.held += 1
        self.memory.append(arrays)
        return 0


# Of the arguments of a call with more than 15 names Python makes a dictionary, which takes longer than all
# else here. So these take the sizes, the activations and the states together.
def rnn_forward(int cell, tuple sizes not None, *, tuple acts not None,
                bint sequences=False, bint reverse=False, bint mask_zero_output=False,
                cnp.ndarray x not None, tuple steps=None, bint packed_steps=False,
                tuple first=(None, None), cnp.ndarray rec_drop=None, cnp.ndarray packed not None,
                cnp.ndarray tape=None, cnp.ndarray scratch not None, cnp.ndarray y not None,
                tuple last=(None, None)):
    """A whole sequence; without a tape nothing is kept for rnn_backward.

    sizes: (B, T, I, H).
    acts: the numbers of the activations of the state and of the gates.
    steps: (row, starts, steps, rows_before) of the steps that a mask leaves, as in tdf_rnn; None: all.
    first, last: (h0, c0) and (hT, cT), each an array or None; c of an LSTM.
    """
    cdef const tdf_table *table = _table(x)
    cdef int kind = cnp.PyArray_TYPE(x)
    cdef tdf_rnn a
    memset(&a, 0, sizeof(a))
    _rnn(&a, cell, sizes, acts)
    cdef ptrdiff_t B = a.B, T = a.T, I = a.I, H = a.H
    h0, c0 = first
    hT, cT = last
    a.sequences, a.reverse, a.mask_zero_output = sequences, reverse, mask_zero_output
    a.x = <real *>_ptr(x, B * T * I, kind, "x")
    cdef ptrdiff_t n = _steps(&a, steps, packed_steps)
    a.h0 = <real *>_ptr(h0, B * H, kind, "h0")
    a.c0 = <real *>_ptr(c0, B * H, kind, "c0")
    a.rec_drop = <real *>_ptr(rec_drop, B * H, kind, "rec_drop")
    a.packed = <real *>_ptr(packed, tdf_rnn_pack_size(&a), kind, "packed")
    a.tape = <real *>_out(tape, 0 if tape is None else tdf_rnn_tape_size(&a), kind, "tape")
    cdef ptrdiff_t room = tdf_rnn_infer_size(&a) if tape is None else tdf_rnn_scratch_size(&a)
    a.scratch = <real *>_out(scratch, room, kind, "scratch")
    a.y = <real *>_out(y, (n if packed_steps else B * T) * H if sequences else B * H, kind, "y")
    a.hT = <real *>_out(hT, B * H, kind, "hT")
    a.cT = <real *>_out(cT, B * H, kind, "cT")
    if cell != TDF_LSTM and (a.c0 != NULL or a.cT != NULL):
        raise ValueError("only an LSTM has c0 and cT")
    if tdf_pair == NULL:
        _make(table, TDF_CALL_rnn_forward, &a, sizeof(a))
    else:
        (<Pair>tdf_pair).hold(table, TDF_CALL_rnn_pair_forward, &a,
                              (x, steps, first, rec_drop, packed, tape, scratch, y, last))


def rnn_backward(int cell, tuple sizes not None, *, tuple acts not None,
                 bint sequences=False, bint reverse=False, bint mask_zero_output=False,
                 tuple steps=None, bint packed_steps=False, cnp.ndarray rec_drop=None,
                 cnp.ndarray kernel not None, cnp.ndarray recurrent not None, cnp.ndarray tape not None,
                 cnp.ndarray scratch not None, cnp.ndarray dy not None, tuple dlast=(None, None),
                 cnp.ndarray dx=None, cnp.ndarray dkernel not None, cnp.ndarray drecurrent not None,
                 cnp.ndarray dbias=None, tuple dfirst=(None, None)):
    """The gradients of rnn_forward; overwrites the tape."""
    cdef const tdf_table *table = _table(kernel)
    cdef int kind = cnp.PyArray_TYPE(kernel)
    cdef tdf_rnn a
    memset(&a, 0, sizeof(a))
    cdef ptrdiff_t width = _rnn(&a, cell, sizes, acts)
    cdef ptrdiff_t B = a.B, T = a.T, I = a.I, H = a.H
    dhT, dcT = dlast
    dh0, dc0 = dfirst
    a.sequences, a.reverse, a.mask_zero_output = sequences, reverse, mask_zero_output
    cdef ptrdiff_t n = _steps(&a, steps, packed_steps)
    a.rec_drop = <real *>_ptr(rec_drop, B * H, kind, "rec_drop")
    a.kernel = <real *>_ptr(kernel, I * width, kind, "kernel")
    a.recurrent = <real *>_ptr(recurrent, H * width, kind, "recurrent")
    a.tape = <real *>_out(tape, tdf_rnn_tape_size(&a), kind, "tape")
    a.scratch = <real *>_out(scratch, tdf_rnn_scratch_size(&a), kind, "scratch")
    a.dy = <real *>_ptr(dy, (n if packed_steps else B * T) * H if sequences else B * H, kind, "dy")
    a.dhT = <real *>_ptr(dhT, B * H, kind, "dhT")
    a.dcT = <real *>_ptr(dcT, B * H, kind, "dcT")
    a.dx = <real *>_out(dx, B * T * I, kind, "dx")
    a.dkernel = <real *>_out(dkernel, I * width, kind, "dkernel")
    a.drecurrent = <real *>_out(drecurrent, H * width, kind, "drecurrent")
    a.dbias = <real *>_out(dbias, width * tdf_rnn_biases(cell), kind, "dbias")
    a.dh0 = <real *>_out(dh0, B * H, kind, "dh0")
    a.dc0 = <real *>_out(dc0, B * H, kind, "dc0")
    if cell != TDF_LSTM and (a.dcT != NULL or a.dc0 != NULL):
        raise ValueError("only an LSTM has dcT and dc0")
    if tdf_pair == NULL:
        _make(table, TDF_CALL_rnn_backward, &a, sizeof(a))
    else:
        (<Pair>tdf_pair).hold(table, TDF_CALL_rnn_pair_backward, &a,
                              (steps, rec_drop, kernel, recurrent, tape, scratch, dy, dlast, dx, dkernel,
                               drecurrent, dbias, dfirst))


# ---------------------------------------------------------------------- Embedding and Masking

def embed_forward(cnp.ndarray ids not None, cnp.ndarray table not None, cnp.ndarray y not None):
    """y = table[ids] for int32 ids; returns the flat index of the first id out of range, or -1."""
    cdef const tdf_table *kernels = _table(table)
    cdef int kind = cnp.PyArray_TYPE(table)
    cdef ptrdiff_t bad = -1
    cdef tdf_embed a
    memset(&a, 0, sizeof(a))
    if table.ndim != 2:
        raise ValueError("table: must have two axes")
    a.threads, a.M, a.V, a.D = _threads(), cnp.PyArray_SIZE(ids), table.shape[0], table.shape[1]
    _bounded(a.M, a.D)
    _bounded(a.V, a.D)
    a.ids = <int32_t *>_ptr(ids, a.M, cnp.NPY_INT32, "ids")
    a.table = <real *>_ptr(table, a.V * a.D, kind, "table")
    a.y = <real *>_out(y, a.M * a.D, kind, "y")
    a.bad = &bad
    abandon()                   # `call` records it with the look at what it returns
    with nogil:
        kernels.embed_forward(&a)
    return bad


def embed_backward(cnp.ndarray ids not None, cnp.ndarray dy not None, cnp.ndarray dtable not None):
    """dtable = the rows of dy summed by their ids, which must be in range."""
    cdef const tdf_table *kernels = _table(dtable)
    cdef int kind = cnp.PyArray_TYPE(dtable)
    cdef tdf_embed a
    memset(&a, 0, sizeof(a))
    cdef ptrdiff_t m
    if dtable.ndim != 2:
        raise ValueError("dtable: must have two axes")
    a.threads, a.M, a.V, a.D = _threads(), cnp.PyArray_SIZE(ids), dtable.shape[0], dtable.shape[1]
    _bounded(a.M, a.D)
    _bounded(a.V, a.D)
    a.ids = <int32_t *>_ptr(ids, a.M, cnp.NPY_INT32, "ids")
    for m in range(a.M):
        if a.ids[m] < 0 or a.ids[m] >= a.V:
            raise ValueError(f"ids: {a.ids[m]} is no row of the table of {a.V}")
    a.dy = <real *>_ptr(dy, a.M * a.D, kind, "dy")
    a.dtable = <real *>_out(dtable, a.V * a.D, kind, "dtable")
    _make(kernels, TDF_CALL_embed_backward, &a, sizeof(a))


def masking_forward(double value, ptrdiff_t M, ptrdiff_t N, cnp.ndarray x not None, cnp.ndarray mask not None,
                    cnp.ndarray y not None):
    """y = x without the rows of nothing but `value`, which become 0; mask tells them."""
    cdef const tdf_table *table = _table(x)
    cdef int kind = cnp.PyArray_TYPE(x)
    cdef tdf_masking a
    memset(&a, 0, sizeof(a))
    _bounded(M, N)
    a.threads, a.M, a.N, a.value = _threads(), M, N, value
    a.x = <real *>_ptr(x, M * N, kind, "x")
    a.mask = <uint8_t *>_out(mask, M, cnp.NPY_BOOL, "mask")
    a.y = <real *>_out(y, M * N, kind, "y")
    _make(table, TDF_CALL_masking_forward, &a, sizeof(a))


def masking_backward(ptrdiff_t M, ptrdiff_t N, cnp.ndarray mask not None, cnp.ndarray dy not None):
    """Set the rows of dy that the mask leaves out to 0."""
    cdef const tdf_table *table = _table(dy)
    cdef tdf_masking a
    memset(&a, 0, sizeof(a))
    _bounded(M, N)
    a.threads, a.M, a.N = _threads(), M, N
    a.mask = <uint8_t *>_ptr(mask, M, cnp.NPY_BOOL, "mask")
    a.y = <real *>_out(dy, M * N, cnp.PyArray_TYPE(dy), "dy")
    _make(table, TDF_CALL_masking_backward, &a, sizeof(a))


# ---------------------------------------------------------------------- texts

cdef inline int _check_ends(const int64_t *ends, ptrdiff_t M, ptrdiff_t size) except -1:
    """Texts must lie one after the other, within so many bytes."""
    cdef ptrdiff_t m
    cdef int64_t before = 0
    for m in range(M + 1):
        if ends[m] < before or ends[m] > size:
            raise ValueError(f"ends: {ends[m]} at {m} is no place in {size} bytes after {before}")
        before = ends[m]
    return 0


def text_hash(cnp.ndarray text not None, cnp.ndarray ends not None, cnp.ndarray hashes not None, salt=None):
    """hashes[m] = FarmHash of the bytes ends[m] to ends[m + 1]; SipHash with a salt, two whole numbers."""
    cdef tdf_hash a
    memset(&a, 0, sizeof(a))
    a.threads, a.M = _threads(), cnp.PyArray_SIZE(hashes)
    _bounded(a.M)
    a.text = <uint8_t *>_ptr(text, 0, cnp.NPY_UINT8, "text")
    a.ends = <int64_t *>_ptr(ends, a.M + 1, cnp.NPY_INT64, "ends")
    a.hash = <uint64_t *>_out(hashes, a.M, cnp.NPY_UINT64, "hashes")
    _check_ends(a.ends, a.M, cnp.PyArray_SIZE(text))
    if salt is not None:
        a.salted, a.k0, a.k1 = True, salt[0], salt[1]
    with nogil:
        _float32.text_hash(&a)


def text_words(bint lower, bint strip, ptrdiff_t most, cnp.ndarray text not None, cnp.ndarray ends not None,
               cnp.ndarray words not None, cnp.ndarray word_ends not None, cnp.ndarray counts not None):
    """The words of texts: their bytes, where each ends, and how many each text has, at most ``most``."""
    cdef tdf_words a
    memset(&a, 0, sizeof(a))
    a.lower, a.strip, a.most, a.M = lower, strip, most, cnp.PyArray_SIZE(counts)
    _bounded(a.M)
    cdef ptrdiff_t size = cnp.PyArray_SIZE(text)
    if most < 1:
        raise ValueError(f"most: must be at least 1, got {most}")
    a.text = <uint8_t *>_ptr(text, 0, cnp.NPY_UINT8, "text")
    a.ends = <int64_t *>_ptr(ends, a.M + 1, cnp.NPY_INT64, "ends")
    a.words = <uint8_t *>_out(words, size, cnp.NPY_UINT8, "words")
    a.word_ends = <int64_t *>_out(word_ends, (size + a.M) // 2 + 1, cnp.NPY_INT64, "word_ends")
    a.counts = <int64_t *>_out(counts, a.M, cnp.NPY_INT64, "counts")
    _check_ends(a.ends, a.M, size)
    with nogil:
        _float32.text_words(&a)


cdef class Vocabulary:
    """Numbers of words by open addressing, in memory that it is given: all zeros, and nobody else's.

    Args:
        table: uint64, a power of 2 of slots.
        known, known_ends: room for the words' bytes, uint8, and for where they end, int64, and one more.
    """

    cdef object arrays
    cdef tdf_vocabulary a
    cdef ptrdiff_t size
    cdef bint growing

    def __init__(self, cnp.ndarray table not None, cnp.ndarray known not None,
                 cnp.ndarray known_ends not None):
        cdef ptrdiff_t i
        if self.arrays is not None:
            raise RuntimeError("a Vocabulary is made once")
        memset(&self.a, 0, sizeof(self.a))
        self.a.slots, self.a.bytes = cnp.PyArray_SIZE(table), cnp.PyArray_SIZE(known)
        self.a.room = cnp.PyArray_SIZE(known_ends) - 1
        if self.a.slots & (self.a.slots - 1) or not 0 < self.a.room < min(self.a.slots, <ptrdiff_t>1 << 31):
            raise ValueError(f"table: {self.a.slots} slots do not fit {self.a.room} words")
        self.a.table = <uint64_t *>_out(table, self.a.slots, cnp.NPY_UINT64, "table")
        self.a.known = <uint8_t *>_out(known, self.a.bytes, cnp.NPY_UINT8, "known")
        self.a.known_ends = <int64_t *>_out(known_ends, self.a.room + 1, cnp.NPY_INT64, "known_ends")
        for i in range(self.a.slots):
            if self.a.table[i]:
                raise ValueError("table: must be zeros")
        self.a.known_ends[0] = 0
        self.size = 0
        self.arrays = table, known, known_ends

    def __len__(self):
        return self.size

    def find(self, bint grow, cnp.ndarray words not None, cnp.ndarray word_ends not None,
             cnp.ndarray ids not None):
        """ids = the numbers of words, -1 where they are not there, or new ones with ``grow``; returns how
        many words it came through, less than all where there is no room."""
        cdef tdf_vocabulary a
        cdef ptrdiff_t done = 0
        if self.arrays is None:
            raise RuntimeError("a Vocabulary needs memory")
        if self.growing:
            raise RuntimeError("this layer learns its vocabulary in another thread")
        a = self.a
        a.threads, a.grow, a.M = _threads(), grow, cnp.PyArray_SIZE(ids)
        _bounded(a.M)
        a.words = <uint8_t *>_ptr(words, 0, cnp.NPY_UINT8, "words")
        a.word_ends = <int64_t *>_ptr(word_ends, a.M + 1, cnp.NPY_INT64, "word_ends")
        a.ids = <int64_t *>_out(ids, a.M, cnp.NPY_INT64, "ids")
        _check_ends(a.word_ends, a.M, cnp.PyArray_SIZE(words))
        a.size, a.done = &self.size, &done
        self.growing = grow
        with nogil:
            _float32.text_find(&a)
        self.growing = False
        return done


# ---------------------------------------------------------------------- losses and accuracies

def loss(*, int loss, ptrdiff_t M, ptrdiff_t N, target=None, labels=None, cnp.ndarray p not None, weight=None,
         level=None, double scale=1, double delta=1, double epsilon, double smoothing=0,
         cnp.ndarray rows not None, dp=None, cnp.ndarray result not None):
    """The loss of each of M rows of N outputs, the gradient, and the weighted sum, which is returned."""
    cdef const tdf_table *table = _table(p)
    cdef int kind = cnp.PyArray_TYPE(p)
    cdef tdf_loss a
    memset(&a, 0, sizeof(a))
    if loss < 0 or loss >= TDF_LOSSES:
        raise ValueError(f"unknown loss number {loss}")
    if (target is None) == (labels is None):
        raise ValueError("loss: give target or labels, and not both")
    if (loss == TDF_LOSS_QUANTILE) != (level is not None):
        raise ValueError("loss: the quantile loss, and no other, takes levels")
    _bounded(M, N)
    a.threads, a.loss, a.M, a.N = _threads(), loss, M, N
    a.target = <real *>_ptr(target, M * N, kind, "target")
    a.labels = <int32_t *>_ptr(labels, M, cnp.NPY_INT32, "labels")
    a.p = <real *>_ptr(p, M * N, kind, "p")
    a.weight = <real *>_ptr(weight, M, kind, "weight")
    a.level = <real *>_ptr(level, N, kind, "level")
    a.rows = <real *>_out(rows, M, kind, "rows")
    a.dp = <real *>_out(dp, M * N, kind, "dp")
    a.result = <double *>_out(result, 2, cnp.NPY_FLOAT64, "result")
    a.scale, a.delta, a.epsilon, a.smoothing = scale, delta, epsilon, smoothing
    _make(table, TDF_CALL_loss, &a, sizeof(a))
    return a.result[0]


# ---------------------------------------------------------------------- optimizers

def as_float32(double number):
    """The number rounded to float32."""
    return <double><float>number


def optim_step(int rule, cnp.ndarray w not None, cnp.ndarray grad not None, tuple slots, tuple numbers, *,
               double decay=0, double clip=0, double grad_scale=1):
    """One step of the rule (a number of RULES); optim.c has its slots, each an array or None, and numbers."""
    cdef tdf_optim a = _optim(rule, w, grad, slots, numbers)
    a.decay, a.clip, a.grad_scale = decay, clip, grad_scale
    _make(_table(w), TDF_CALL_optim_step, &a, sizeof(a))


cdef tdf_optim _optim(int rule, cnp.ndarray w, cnp.ndarray grad, tuple slots, tuple numbers) except *:
    cdef int kind = cnp.PyArray_TYPE(w)
    cdef Py_ssize_t i
    cdef tdf_optim a
    memset(&a, 0, sizeof(a))
    if rule < 0 or rule >= TDF_RULES:
        raise ValueError(f"unknown rule number {rule}")
    if len(slots) > TDF_SLOTS or len(numbers) > TDF_NUMBERS:
        raise ValueError(
            f"at most {TDF_SLOTS} slots and {TDF_NUMBERS} numbers, got {len(slots)} and {len(numbers)}")
    a.threads, a.rule, a.n = _threads(), rule, cnp.PyArray_SIZE(w)
    a.w, a.grad = <real *>_out(w, a.n, kind, "w"), <real *>_ptr(grad, a.n, kind, "grad")
    for i in range(TDF_SLOTS):
        a.slot[i] = <real *>_out(slots[i] if i < len(slots) else None, a.n, kind, "slot")
    for i in range(TDF_NUMBERS):
        a.number[i] = numbers[i] if i < len(numbers) else 0
    a.grad_scale = 1
    return a


def sum_squares(cnp.ndarray grad not None, cnp.ndarray partial not None):
    """The sum of squares; partial has room for one double per 4096 elements."""
    cdef const tdf_table *table = _table(grad)
    cdef double result = 0
    cdef tdf_norm a = _norm(grad, partial, &result)
    abandon()
    with nogil:
        table.sum_squares(&a)
    return result


cdef tdf_norm _norm(cnp.ndarray grad, cnp.ndarray partial, double *result) except *:
    cdef tdf_norm a
    memset(&a, 0, sizeof(a))
    a.threads, a.n, a.factor, a.result = _threads(), cnp.PyArray_SIZE(grad), 1, result
    a.grad = <real *>_ptr(grad, a.n, cnp.PyArray_TYPE(grad), "grad")
    a.partial = <double *>_out(partial, (a.n + 4095) // 4096, cnp.NPY_FLOAT64, "partial")
    return a


def scale(cnp.ndarray grad not None, double factor):
    """grad *= factor"""
    cdef const tdf_table *table = _table(grad)
    cdef tdf_norm a
    memset(&a, 0, sizeof(a))
    a.threads, a.n, a.factor = _threads(), cnp.PyArray_SIZE(grad), factor
    a.grad = <real *>_out(grad, a.n, cnp.PyArray_TYPE(grad), "grad")
    _make(table, TDF_CALL_scale, &a, sizeof(a))


# ---------------------------------------------------------------------- streams

cdef union stream_args:
    tdf_rnn rnn
    tdf_dense dense
    tdf_act act


cdef enum stream_kind:
    STREAM_RNN, STREAM_DENSE, STREAM_ACT


cdef struct stream_op:
    stream_kind kind
    stream_args args


cdef enum:
    STREAM_OPS = 64

STREAM_MOST = STREAM_OPS         # kernels of a Stream
NUMBERS = TDF_NUMBERS            # of an optimizer's rule


def alike(x, cnp.ndarray y not None):
    """Whether x is a C-contiguous array of the dtype and the shape of y, and of no class derived from
    arrays."""
    return type(x) is cnp.ndarray and _alike(<cnp.ndarray>x, y)


cdef inline bint _alike(cnp.ndarray a, cnp.ndarray b) noexcept:
    return (<void *>cnp.PyArray_DESCR(a) == <void *>cnp.PyArray_DESCR(b) and cnp.PyArray_IS_C_CONTIGUOUS(a)
            and cnp.PyArray_SAMESHAPE(a, b))


def all_finite(cnp.ndarray x not None):
    """Whether an array holds no NaN and no infinity; one of whole numbers holds none."""
    if cnp.PyArray_TYPE(x) not in (cnp.NPY_FLOAT32, cnp.NPY_FLOAT64):
        return True
    if not cnp.PyArray_IS_C_CONTIGUOUS(x):
        raise ValueError("x: must be C-contiguous")
    return bool(_all_finite(x))


cdef bint _all_finite(cnp.ndarray x) noexcept:
    """Whether a contiguous array of floats holds no NaN and no infinity: 0 times one of these is NaN."""
    cdef Py_ssize_t i, n = cnp.PyArray_SIZE(x)
    cdef double bad = 0
    cdef const float *singles = <const float *>cnp.PyArray_DATA(x)
    cdef const double *doubles = <const double *>cnp.PyArray_DATA(x)
    if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
        for i in range(n):
            bad += singles[i] * 0
    else:
        for i in range(n):
            bad += doubles[i] * 0
    return bad == 0


cdef class Stream:
    """A stack of kernels that one call runs for one time step of a batch.

    Each method but `step` adds a kernel that reads ``x``, the output of the one before, and writes
    ``y``. The arrays stay the caller's; the first x and the last y are given to `step`.
    """

    cdef stream_op ops[STREAM_OPS]
    cdef int n, dtype
    cdef bint running
    cdef ptrdiff_t size_in, size_out
    cdef const tdf_table *table
    cdef list arrays

    def __cinit__(self):
        self.n = 0
        self.running = False
        self.arrays = []

    def __len__(self):
        return self.n

    cdef stream_op *_add(self, stream_kind kind, cnp.ndarray x, cnp.ndarray y) except NULL:
        if self.n == STREAM_OPS:
            raise ValueError(f"a stream holds at most {STREAM_OPS} layers")
        if self.n == 0:
            self.table, self.dtype, self.size_in = _table(x), cnp.PyArray_TYPE(x), cnp.PyArray_SIZE(x)
        memset(&self.ops[self.n], 0, sizeof(stream_op))
        self.ops[self.n].kind = kind
        return &self.ops[self.n]

    cdef int _added(self, cnp.ndarray y, tuple arrays) except -1:
        """The kernel that `_add` began has passed all checks; its arrays live as long as the stream."""
        self.arrays.append(arrays)
        self.size_out = cnp.PyArray_SIZE(y)
        self.n += 1
        return 0

    def rnn(self, int cell, tuple sizes not None, *, tuple acts not None, cnp.ndarray x not None,
            cnp.ndarray packed not None, cnp.ndarray h not None, cnp.ndarray c=None,
            cnp.ndarray scratch not None, cnp.ndarray y not None):
        """One step of a recurrent layer, so T is 1; h and, for an LSTM, c, both (B, H), are its state."""
        cdef tdf_rnn *a = &self._add(STREAM_RNN, x, y).args.rnn
        cdef int kind = self.dtype
        _rnn(a, cell, sizes, acts)
        cdef ptrdiff_t B = a.B, I = a.I, H = a.H
        if a.T != 1:
            raise ValueError(f"a stream runs one step at a time, got T = {a.T}")
        if (c is None) != (cell != TDF_LSTM):
            raise ValueError("an LSTM has c, and no other cell")
        a.x = <real *>_ptr(x, B * I, kind, "x")
        a.packed = <real *>_ptr(packed, tdf_rnn_pack_size(a), kind, "packed")
        a.hT = <real *>_out(h, B * H, kind, "h")
        a.cT = <real *>_out(c, B * H, kind, "c")
        a.h0, a.c0 = a.hT, a.cT
        a.scratch = <real *>_out(scratch, tdf_rnn_infer_size(a), kind, "scratch")
        a.y = <real *>_out(y, B * H, kind, "y")
        self._added(y, (x, packed, h, c, scratch, y))

    def dense(self, *, int act, ptrdiff_t M, ptrdiff_t K, ptrdiff_t N, cnp.ndarray x not None,
              cnp.ndarray packed not None, cnp.ndarray bias=None, cnp.ndarray z=None, cnp.ndarray y not None):
        """M rows of a Dense layer."""
        cdef tdf_dense *d = &self._add(STREAM_DENSE, x, y).args.dense
        cdef int kind = self.dtype
        _bounded(M, K, N)
        d.act, d.M, d.K, d.N = _check_act(act), M, K, N
        d.x = <real *>_ptr(x, M * K, kind, "x")
        d.packed = <real *>_ptr(packed, tdf_dense_pack_size(K, N), kind, "packed")
        d.bias = <real *>_ptr(bias, N, kind, "bias")
        d.z = <real *>_out(z, M * N, kind, "z")
        d.y = <real *>_out(y, M * N, kind, "y")
        self._added(y, (x, packed, bias, z, y))

    def act(self, int act, ptrdiff_t M, ptrdiff_t N, cnp.ndarray x not None, cnp.ndarray y not None):
        """An activation on M rows of N."""
        cdef tdf_act *a = &self._add(STREAM_ACT, x, y).args.act
        cdef int kind = self.dtype
        _bounded(M, N)
        a.act, a.M, a.N = _check_act(act), M, N
        a.x = <real *>_ptr(x, M * N, kind, "x")
        a.y = <real *>_out(y, M * N, kind, "y")
        self._added(y, (x, y))

    def step(self, cnp.ndarray x not None, cnp.ndarray y not None, bint finite=False):
        """Run all kernels once, from x to y.

        Args:
            finite: True refuses NaN and infinity in x.

        Returns:
            Whether they ran; False if x was refused.
        """
        cdef int i, threads = _threads()
        cdef stream_op *op
        cdef real *first = <real *>_ptr(x, self.size_in, self.dtype, "x")
        cdef real *last = <real *>_out(y, self.size_out, self.dtype, "y")
        if self.n == 0:
            raise ValueError("the stream is empty")
        if (<char *>first < <char *>last + cnp.PyArray_NBYTES(y)
                and <char *>last < <char *>first + cnp.PyArray_NBYTES(x)):
            raise ValueError("y must not overlap x")
        if self.running:
            raise RuntimeError(
                "this stream is at work in another thread: give each thread a stream of its own")
        if finite and not _all_finite(x):
            return False
        op = &self.ops[0]
        if op.kind == STREAM_RNN:
            op.args.rnn.x = first
        elif op.kind == STREAM_DENSE:
            op.args.dense.x = first
        else:
            op.args.act.x = first
        op = &self.ops[self.n - 1]
        if op.kind == STREAM_RNN:
            op.args.rnn.y = last
        elif op.kind == STREAM_DENSE:
            op.args.dense.y = last
        else:
            op.args.act.y = last
        self.running = True
        with nogil:
            for i in range(self.n):
                op = &self.ops[i]
                if op.kind == STREAM_RNN:
                    op.args.rnn.threads = threads
                    self.table.rnn_forward(&op.args.rnn)
                elif op.kind == STREAM_DENSE:
                    op.args.dense.threads = threads
                    self.table.dense_forward(&op.args.dense)
                else:
                    op.args.act.threads = threads
                    self.table.act_forward(&op.args.act)
        self.running = False
        return True
