// The native part of Freehold: a decoder's layers over a step's rows, and single products. A plain C interface, called
// through ctypes; torch and Python are not linked.
//
// All rows take all layers in one call. Inside, a team of threads goes through a layer step by step and meets after each:
// norm; q, k and v; rotation, and keys and values into the cache; attention; where a row sees many keys, joining its
// spans; the output projection; norm; gate and up; down. The residual stream is float32.
//
// Shapes: M rows, D hidden, H query heads, G key/value heads, R = H / G, d head size, F width of the feed-forward layer.

#include <algorithm>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "attention.h"
#include "product.h"
#include "team.h"
#include "vector.h"
#ifdef __AMX_BF16__
#include <sys/syscall.h>
#include <unistd.h>
#endif

using namespace freehold;

extern "C" {

struct Linear {
    const void *packed;  // see product.h
    const void *bias;    // (N,) or null
    int64_t n, k;
};

struct Layer {
    Linear qkv, o, gate, up, down;
    const void *attention_norm, *mlp_norm;  // (D,)
    const void *q_norm, *k_norm;            // (d,) or null
};

struct Decoder {
    int64_t layers, hidden, heads, groups, head_size, width, rotated;  // rotated <= head_size
    float eps, scale;
    const Layer *layer;
    const void *norm;   // (D,)
    const float *rope;  // (positions, rotated): cosines, then sines
    int64_t half;       // all of `const void *`, the cache, input and output in bfloat16, else in float32
};

struct Pass {
    int64_t rows;
    const void *input;          // (M, D): embeddings
    void *output;               // (M, D): after the last norm
    const int64_t *positions;   // (M,)
    const int64_t *slots;       // (M,): where the row's key and value go
    const int64_t *lengths;     // (M,): keys that the row sees, its own included
    const int32_t *table;       // blocks of all sequences
    const int64_t *table_start; // (M,): where those of the row's sequence begin
    void *cache;                // (layers, slots, 2, G, d)
    int64_t layer_stride, slot_stride, block_size;  // in numbers
    void *workspace;
    int64_t workspace_bytes;
    int64_t threads;
};
}

namespace {

// Places in the workspace, each at the start of a cache line.
class Room {
  public:
    explicit Room(void *start) : at_((char *)start), used_(0) {}
    template <class T>
    T *take(int64_t count) {
        used_ = (used_ + 63) / 64 * 64;
        T *place = at_ ? (T *)(at_ + used_) : nullptr;
        used_ += count * (int64_t)sizeof(T);
        return place;
    }
    int64_t used() const { return used_; }

  private:
    char *at_;
    int64_t used_;
};

// Rows rounded up, so that tiles may read whole blocks.
int64_t block_rows(int64_t rows) { return (rows + kWidth - 1) / kWidth * kWidth; }

constexpr int64_t kShared = 5;  // steps of a layer that are shared out piece by piece

// Rows of one sequence, side by side in the pass, against one span of keys.
struct Piece {
    int64_t row, span;
    int rows;
};

template <class Weight>
struct Buffers {
    typedef typename Input<Weight>::type In;
    float *stream;      // (M, D): the residual
    float *qkv;         // (M, (H + 2G) d)
    In *attended;       // (M, H d)
    In *inner;          // (M, F)
    float *part, *top, *mass;  // of spans
    int64_t *first_span;       // (M + 1,)
    Piece *piece;
    int64_t pieces = 0;
    Taken *taken;  // (layers, kShared, threads): of what is shared out
    In *normed;         // (M, D)
    float *scores;      // (threads, kTogether, H, kSpan)

    Buffers(const Decoder &m, const Pass &p, Room &room) {
        const int64_t rows = block_rows(p.rows);
        int64_t all = 0;
        for (int64_t r = 0; r < p.rows; r++) all += spans(p.lengths[r]);
        stream = room.take<float>(rows * m.hidden);
        qkv = room.take<float>(rows * (m.heads + 2 * m.groups) * m.head_size);
        attended = room.take<In>(rows * m.heads * m.head_size);
        inner = room.take<In>(rows * m.width);
        part = room.take<float>(all * m.heads * m.head_size);
        top = room.take<float>(all * m.heads);
        mass = room.take<float>(all * m.heads);
        first_span = room.take<int64_t>(p.rows + 1);
        piece = room.take<Piece>(all);
        taken = room.take<Taken>(m.layers * kShared * p.threads);
        normed = room.take<In>(rows * m.hidden);
        scores = room.take<float>(p.threads * kTogether * m.heads * kSpan);
    }
};

template <class In, class Weight, class Out>
void rms_norm(const In *x, const Weight *weight, float eps, int64_t size, Out *out) {
    Vec square = {};
    for (int64_t i = 0; i < size; i += kWidth) {
        const Vec v = load(x + i);
        square += v * v;
    }
    const float factor = 1.0f / __builtin_sqrtf(sum(square) / (float)size + eps);
    for (int64_t i = 0; i < size; i += kWidth) store(out + i, load(x + i) * factor * load(weight + i));
}

template <class Weight>
inline Vec bias(const Linear &linear, int64_t panel) {
    return linear.bias ? load((const Weight *)linear.bias + panel * kWidth) : Vec{};
}

void rotate(float *x, const float *cos_sin, int64_t rotated, float scale) {
    const int64_t half = rotated / 2;
    const float *cos = cos_sin, *sin = cos_sin + half;
    for (int64_t i = 0; i < half; i++) {
        const float a = x[i], b = x[i + half];
        x[i] = (a * cos[i] - b * sin[i]) * scale;
        x[i + half] = (b * cos[i] + a * sin[i]) * scale;
    }
}

template <class Weight>
void decode(const Decoder &m, const Pass &pass, const Buffers<Weight> &b, const Team &team) {
    typedef typename Input<Weight>::type In;
    const int64_t rows = pass.rows;
    const int64_t d = m.head_size, shared = m.heads / m.groups, qkv_width = (m.heads + 2 * m.groups) * d;
    const int64_t in_heads = m.heads * d;
    float *scores = b.scores + team.member() * kTogether * m.heads * kSpan;

    const auto norm_rows = [&](const void *weight, auto *out) {
        for (int64_t r = team.first(rows); r < team.last(rows); r++)
            rms_norm(b.stream + r * m.hidden, (const Weight *)weight, m.eps, m.hidden, out + r * m.hidden);
        team.meet();
    };
    Tiles tiles;
    Taken *taken = b.taken;  // of the step at hand
    const auto next_step = [&] { return std::exchange(taken, taken + pass.threads); };
    const auto times = [&](const Linear &linear, const In *x, const auto &done) {
        share_panels(team, tiles, next_step(), rows, panels(linear.n), [&](int64_t row, int many, int64_t p, int64_t end) {
            product(x + row * linear.k, linear.k, many, (const Weight *)linear.packed, linear.k, p, end,
                    [&](int r, int64_t at, Vec v) { done(row + r, at, v + bias<Weight>(linear, at)); });
        });
    };
    const auto add = [&](int64_t r, int64_t p, Vec v) {
        float *x = b.stream + r * m.hidden + p * kWidth;
        store(x, load(x) + v);
    };

    const int64_t numbers = rows * m.hidden;
    for (int64_t i = team.first(numbers / kWidth); i < team.last(numbers / kWidth); i++)
        store(b.stream + i * kWidth, load((const Weight *)pass.input + i * kWidth));
    team.meet();

    for (int64_t l = 0; l < m.layers; l++) {
        const Layer &layer = m.layer[l];
        const Cache<Weight> cache{(Weight *)pass.cache + l * pass.layer_stride, pass.slot_stride, m.groups, d,
                                  pass.block_size};
        norm_rows(layer.attention_norm, b.normed);
        times(layer.qkv, b.normed, [&](int64_t r, int64_t p, Vec v) { store(b.qkv + r * qkv_width + p * kWidth, v); });
        team.meet();

        for (int64_t i = team.first(rows * m.groups); i < team.last(rows * m.groups); i++) {
            const int64_t r = i / m.groups, g = i % m.groups;
            float *q = b.qkv + r * qkv_width + g * shared * d, *k = b.qkv + r * qkv_width + (m.heads + g) * d;
            const float *v = k + m.groups * d;
            const float *cos_sin = m.rope + pass.positions[r] * m.rotated;
            for (int64_t h = 0; h < shared; h++) {
                if (layer.q_norm) rms_norm(q + h * d, (const Weight *)layer.q_norm, m.eps, d, q + h * d);
                rotate(q + h * d, cos_sin, m.rotated, 1.0f);
                for (int64_t j = 0; j < d; j++) q[h * d + j] *= m.scale;
            }
            if (layer.k_norm) rms_norm(k, (const Weight *)layer.k_norm, m.eps, d, k);
            rotate(k, cos_sin, m.rotated, 1.0f);
            Weight *key = cache.key(pass.slots[r], g), *value = cache.value(pass.slots[r], g);
            for (int64_t j = 0; j < d; j += kWidth) {
                store(key + j, load(k + j));
                store(value + j, load(v + j));
            }
        }
        team.meet();

        // all groups at once where there are pieces enough for everybody: their keys and values lie side by side
        const int64_t cut = b.pieces >= 4 * team.size() ? 1 : m.groups, some = m.groups / cut;
        std::atomic<int64_t> &attended = next_step()->pieces;
        for (int64_t i; (i = attended.fetch_add(1, std::memory_order_relaxed)) < b.pieces * cut;) {
            const Piece &piece = b.piece[i / cut];
            const int64_t g = i % cut * some, r = piece.row;
            const Span<Weight> span{cache, pass.table + pass.table_start[r], piece.span * kSpan, pass.lengths[r],
                                    piece.rows, g, g + some, shared, b.qkv + r * qkv_width, qkv_width, scores};
            const auto at = [&](int row) { return (b.first_span[r + row] + piece.span) * m.heads; };
            span.score_all();
            for (int row = 0; row < piece.rows; row++)
                if (span.end(row) > span.first)
                    for (int64_t h = g * shared; h < (g + some) * shared; h++)
                        span.weigh(row, h, b.top + at(row) + h, b.mass + at(row) + h);
            span.gather_all([&](int row) { return b.part + at(row) * d; });
            for (int row = 0; row < piece.rows; row++)
                if (piece.span == 0 && b.first_span[r + row + 1] - b.first_span[r + row] == 1)
                    for (int64_t h = g * shared; h < (g + some) * shared; h++)
                        join_spans(b.part + (at(row) + h) * d, b.top + at(row) + h, b.mass + at(row) + h, 1, 0, 0, d,
                                   b.attended + (r + row) * in_heads + h * d);
        }
        team.meet();

        if (b.first_span[rows] > rows) {
            for (int64_t i = team.first(rows * m.heads); i < team.last(rows * m.heads); i++) {
                const int64_t r = i / m.heads, h = i % m.heads, span = b.first_span[r];
                const int64_t count = b.first_span[r + 1] - span, at = span * m.heads + h;
                if (count > 1)
                    join_spans(b.part + at * d, b.top + at, b.mass + at, count, m.heads * d, m.heads, d,
                               b.attended + r * in_heads + h * d);
            }
            team.meet();
        }

        times(layer.o, b.attended, add);
        team.meet();

        norm_rows(layer.mlp_norm, b.normed);
        share_panels(team, tiles, next_step(), rows, panels(m.width), [&](int64_t row, int many, int64_t p, int64_t end) {
            alignas(64) float gate[kRows][2 * kWidth];
            const In *x = b.normed + row * m.hidden;
            product(x, m.hidden, many, (const Weight *)layer.gate.packed, m.hidden, p, end,
                    [&](int r, int64_t at, Vec v) {
                        store(&gate[r][(at - p) * kWidth], silu(v + bias<Weight>(layer.gate, at)));
                    });
            product(x, m.hidden, many, (const Weight *)layer.up.packed, m.hidden, p, end,
                    [&](int r, int64_t at, Vec v) {
                        store(b.inner + (row + r) * m.width + at * kWidth,
                              load(&gate[r][(at - p) * kWidth]) * (v + bias<Weight>(layer.up, at)));
                    });
        });
        team.meet();

        times(layer.down, b.inner, add);
        team.meet();
    }
    norm_rows(m.norm, (Weight *)pass.output);
}

template <class Weight>
int run_decode(const Decoder &m, const Pass &pass, const OpenMP &openmp) {
    Room room(pass.workspace);
    Buffers<Weight> b(m, pass, room);
    if (room.used() > pass.workspace_bytes) return 1;
    b.first_span[0] = 0;
    for (int64_t r = 0; r < pass.rows; r++) b.first_span[r + 1] = b.first_span[r] + spans(pass.lengths[r]);
    for (int64_t r = 0; r < pass.rows;) {
        int many = 1;
        while (many < kTogether && r + many < pass.rows && pass.table_start[r + many] == pass.table_start[r] &&
               pass.lengths[r + many] == pass.lengths[r] + many)
            many++;
        for (int64_t span = 0; span < spans(pass.lengths[r + many - 1]); span++)
            b.piece[b.pieces++] = {r, span, many};
        r += many;
    }
    for (int64_t i = 0; i < m.layers * kShared * pass.threads; i++) new (&b.taken[i]) Taken;
    Team::run(openmp, (int)pass.threads, [&](const Team &team) { decode<Weight>(m, pass, b, team); });
    return 0;
}

// What follows a product.
enum After : int64_t { kNothing = 0, kSilu = 1, kAdd = 2, kMultiply = 3 };

struct Product {
    Linear linear;
    int64_t half;       // weights, x and other in bfloat16, else in float32
    int64_t half_out;   // likewise the result
    int64_t after;
    int64_t rows;
    const void *x;      // (M, K)
    const void *other;  // (M, N), for kAdd and kMultiply
    void *out;          // (M, N)
    void *workspace;    // float32 (threads, 128, K), for bfloat16 where there is no AMX
    int64_t threads;
};

template <class Weight, class Out>
void multiply_rows(const Product &c, Taken *taken, const Team &team) {
    typedef typename Input<Weight>::type In;
    const Linear &l = c.linear;
    const int64_t count = panels(l.n);
    Tiles tiles;
    const Weight *other = (const Weight *)c.other;
    for (int64_t start = 0; start < c.rows; start += kChunk) {
        const int64_t rows = std::min(kChunk, c.rows - start);
        const Weight *given = (const Weight *)c.x + start * l.k;
        const In *x;
        if constexpr (std::is_same_v<In, Weight>) {
            x = given;
        } else {
            In *copy = (In *)c.workspace + team.member() * kChunk * l.k;
            for (int64_t i = 0; i < rows * l.k; i += kWidth) store(copy + i, load(given + i));
            x = copy;
        }
        share_panels(team, tiles, taken + start / kChunk * c.threads, rows, count, [&](int64_t row, int many, int64_t p, int64_t end) {
            product(x + row * l.k, l.k, many, (const Weight *)l.packed, l.k, p, end, [&](int r, int64_t at, Vec v) {
                const int64_t place = (start + row + r) * l.n + at * kWidth;
                v += bias<Weight>(l, at);
                if (c.after == kSilu) v = silu(v);
                if (c.after == kAdd) v = load(other + place) + v;
                if (c.after == kMultiply) v = load(other + place) * v;
                store((Out *)c.out + place, v);
            });
        });
    }
}

template <class Weight>
void lay_out(const Weight *weight, Weight *packed, int64_t n, int64_t k, bool back) {
    if (back)
        unpack(packed, (Weight *)weight, n, k);
    else
        pack(weight, packed, n, k);
}

}  // namespace

extern "C" {

// What this was compiled from; the caller compares it with the sources beside it.
extern const char freehold_sources[] = FREEHOLD_SOURCES;

// Whether this build multiplies bfloat16 with AMX, and the system lets it. To be called once before anything else.
int64_t freehold_allow_tiles() {
#ifdef __AMX_BF16__
    constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
    return 0;
#endif
}

// Copies a weight (N, K) into panels of as many bytes, or back.
void freehold_pack(const void *weight, void *packed, int64_t n, int64_t k, int64_t half, int64_t back) {
    if (half)
        lay_out((const bf16 *)weight, (bf16 *)packed, n, k, back);
    else
        lay_out((const float *)weight, (float *)packed, n, k, back);
}

void freehold_product(const Product *c, const OpenMP *openmp) {
    std::vector<Taken> taken((c->rows + kChunk - 1) / kChunk * c->threads);
    Team::run(*openmp, (int)c->threads, [&](const Team &team) {
        if (c->half && c->half_out)
            multiply_rows<bf16, bf16>(*c, taken.data(), team);
        else if (c->half)
            multiply_rows<bf16, float>(*c, taken.data(), team);
        else
            multiply_rows<float, float>(*c, taken.data(), team);
    });
}

// Bytes that a pass needs as its workspace.
int64_t freehold_workspace(const Decoder *m, const Pass *pass) {
    Room room(nullptr);
    if (m->half)
        Buffers<bf16>(*m, *pass, room);
    else
        Buffers<float>(*m, *pass, room);
    return room.used();
}

// Takes rows through all layers. Returns 0, or 1 where the workspace is too small: nothing has happened then.
int64_t freehold_decode(const Decoder *m, const Pass *pass, const OpenMP *openmp) {
    return m->half ? run_decode<bf16>(*m, *pass, *openmp) : run_decode<float>(*m, *pass, *openmp);
}
}
