// x W^T for a few rows of x, with the weights in panels.
//
// A panel holds sixteen outputs' weights in the order in which they are read, so that a product streams through memory
// once. In float32 that is [K][16]; in bfloat16 [K/2][16][2], which is the layout of AMX's second operand too. K is
// a multiple of 32, N of 16.
//
// An output is the sum over K in one fixed order, whatever other rows and outputs are computed with it: a row has the
// same bits in any batch.
//
// Shapes: M rows, K inputs, N outputs.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>

#include "team.h"
#include "vector.h"
#ifdef __AMX_BF16__
#include <immintrin.h>
#endif

namespace freehold {

constexpr int kTile = 32;          // inputs of a tile
constexpr int64_t kAhead = 4096;  // bytes of weights asked for ahead of their use

inline int64_t panels(int64_t n) { return n / kWidth; }

// What a product takes its rows in: float32, but bfloat16 where AMX multiplies.
template <class Weight>
struct Input {
    typedef float type;
    
};
#ifdef __AMX_BF16__
template <>
struct Input<bf16> {
    typedef bf16 type;
    
};
#endif

constexpr int64_t kPair(size_t bytes) { return bytes == 2 ? 2 : 1; }

// Copies a weight (N, K) into panels.
template <class Weight>
void pack(const Weight *weight, Weight *packed, int64_t n, int64_t k) {
    constexpr int64_t pair = kPair(sizeof(Weight));
    for (int64_t i = 0; i < n; i++) {
        Weight *panel = packed + i / kWidth * k * kWidth + i % kWidth * pair;
        for (int64_t j = 0; j < k; j++) panel[j / pair * pair * kWidth + j % pair] = weight[i * k + j];
    }
}

// The inverse of `pack`.
template <class Weight>
void unpack(const Weight *packed, Weight *weight, int64_t n, int64_t k) {
    constexpr int64_t pair = kPair(sizeof(Weight));
    for (int64_t i = 0; i < n; i++) {
        const Weight *panel = packed + i / kWidth * k * kWidth + i % kWidth * pair;
        for (int64_t j = 0; j < k; j++) weight[i * k + j] = panel[j / pair * pair * kWidth + j % pair];
    }
}

// Vector units: `Rows` rows against one panel.
template <int Rows>
inline void multiply(const float *x, int64_t stride, const float *panel, int64_t depth, Vec *out) {
    Vec sum[Rows] = {};
    for (int64_t k = 0; k < depth; k++) {
        __builtin_prefetch((const char *)(panel + k * kWidth) + kAhead);
        const Vec w = load(panel + k * kWidth);
        for (int r = 0; r < Rows; r++) sum[r] += w * x[r * stride + k];
    }
    for (int r = 0; r < Rows; r++) out[r] = sum[r];
}

template <int Rows>
inline void multiply(const float *x, int64_t stride, const bf16 *panel, int64_t depth, Vec *out) {
    Vec sum[Rows] = {};
    for (int64_t k = 0; k < depth; k += 2) {
        __builtin_prefetch((const char *)(panel + k * kWidth) + kAhead);
        BitVec pair;
        std::memcpy(&pair, panel + k * kWidth, sizeof pair);
        const Vec even = (Vec)(pair << 16), odd = (Vec)(pair & 0xffff0000u);
        for (int r = 0; r < Rows; r++) {
            sum[r] += even * x[r * stride + k];
            sum[r] += odd * x[r * stride + k + 1];
        }
    }
    for (int r = 0; r < Rows; r++) out[r] = sum[r];
}

#ifdef __AVX512F__
constexpr int kBlock = 16;  // rows whose sums fit in registers
#else
constexpr int kBlock = 4;
#endif
constexpr int kRows = 32;  // most rows of one call of `product`

// The rows from `row` on, in blocks of Rows, then of half as many.
template <int Rows, class Weight, class Done>
inline void multiply_blocks(const float *x, int64_t stride, int row, int rows, const Weight *panel, int64_t depth,
                            int64_t p, const Done &done) {
    Vec out[Rows];
    for (; row + Rows <= rows; row += Rows) {
        multiply<Rows>(x + row * stride, stride, panel, depth, out);
        for (int r = 0; r < Rows; r++) done(row + r, p, out[r]);
    }
    if constexpr (Rows > 1) multiply_blocks<Rows / 2>(x, stride, row, rows, panel, depth, p, done);
}

// Calls `done(row, panel, values)` for rows [0, rows), rows <= kRows, and panels [first, last).
// Rows of x are `stride` numbers apart.
template <class Weight, class Done>
inline void vector_product(const float *x, int64_t stride, int rows, const Weight *packed, int64_t depth, int64_t first,
                           int64_t last, const Done &done) {
    for (int64_t p = first; p < last; p++)
        multiply_blocks<kBlock>(x, stride, 0, rows, packed + p * depth * kWidth, depth, p, done);
}

#ifdef __AMX_BF16__

// GCC's intrinsics do not tell the compiler which memory they read and write; this does.
inline void settle_memory(const void *p) { __asm__ volatile("" : : "r"(p) : "memory"); }

struct TileConfig {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes[16] = {};
    uint8_t rows[16] = {};
};

// A thread's tile configuration, while this lives. Tiles 0-3 sum 2 blocks of rows by 2 panels, 4-5 hold rows of x, 6-7
// weights. What was configured before is put back at the end, because other libraries keep theirs between calls.
class Tiles {
  public:
    Tiles() {
        settle_memory(&before_);
        _tile_storeconfig(&before_);
        settle_memory(&before_);
    }
    ~Tiles() {
        settle_memory(&before_);
        if (before_.palette)
            _tile_loadconfig(&before_);
        else if (rows_)
            _tile_release();
    }
    Tiles(const Tiles &) = delete;
    Tiles &operator=(const Tiles &) = delete;

    // Gets ready for products of so many rows, at most kRows. Takes a microsecond where that is a change.
    void use(int rows) {
        if (rows == rows_) return;
        rows_ = rows;
        TileConfig config;
        const int block[2] = {std::min(rows, kWidth), std::max(rows - kWidth, 1)};
        for (int tile = 0; tile < 8; tile++) {
            config.bytes[tile] = 64;
            config.rows[tile] = tile < 4 ? block[tile / 2] : tile < 6 ? block[tile - 4] : kWidth;
        }
        settle_memory(&config);
        _tile_loadconfig(&config);
    }

  private:
    alignas(64) TileConfig before_;
    int rows_ = 0;
};

inline void fetch_ahead(const bf16 *tile) {
    const char *p = (const char *)tile + kAhead;
    for (int line = 0; line < 16; line++) _mm_prefetch(p + line * 64, _MM_HINT_T0);
}

template <int Blocks, int Panels, class Done>
inline void tile_block(const bf16 *x, int64_t stride, int rows, const bf16 *packed, int64_t depth, int64_t p,
                       const Done &done) {
    const bf16 *w0 = packed + p * depth * kWidth, *w1 = w0 + depth * kWidth;
    settle_memory(x);
    _tile_zero(0);
    if (Panels == 2) _tile_zero(1);
    if (Blocks == 2) {
        _tile_zero(2);
        if (Panels == 2) _tile_zero(3);
    }
    for (int64_t k = 0; k < depth; k += kTile) {
        fetch_ahead(w0 + k * kWidth);
        if (Panels == 2) fetch_ahead(w1 + k * kWidth);
        _tile_loadd(4, x + k, stride * 2);
        _tile_loadd(6, w0 + k * kWidth, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (Panels == 2) {
            _tile_loadd(7, w1 + k * kWidth, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (Blocks == 2) {
            _tile_loadd(5, x + kWidth * stride + k, stride * 2);
            _tile_dpbf16ps(2, 5, 6);
            if (Panels == 2) _tile_dpbf16ps(3, 5, 7);
        }
    }
    alignas(64) float out[kWidth * kWidth];
    settle_memory(out);
    const int low = std::min(rows, kWidth);
    _tile_stored(0, out, 64);
    settle_memory(out);
    for (int r = 0; r < low; r++) done(r, p, load(out + r * kWidth));
    if (Panels == 2) {
        _tile_stored(1, out, 64);
    settle_memory(out);
        for (int r = 0; r < low; r++) done(r, p + 1, load(out + r * kWidth));
    }
    if (Blocks == 2) {
        _tile_stored(2, out, 64);
    settle_memory(out);
        for (int r = kWidth; r < rows; r++) done(r, p, load(out + (r - kWidth) * kWidth));
        if (Panels == 2) {
            _tile_stored(3, out, 64);
    settle_memory(out);
            for (int r = kWidth; r < rows; r++) done(r, p + 1, load(out + (r - kWidth) * kWidth));
        }
    }
}

template <class Done>
inline void tile_product(const bf16 *x, int64_t stride, int rows, const bf16 *packed, int64_t depth, int64_t first,
                         int64_t last, const Done &done) {
    int64_t p = first;
    if (rows > kWidth) {
        for (; p + 2 <= last; p += 2) tile_block<2, 2>(x, stride, rows, packed, depth, p, done);
        if (p < last) tile_block<2, 1>(x, stride, rows, packed, depth, p, done);
    } else {
        for (; p + 2 <= last; p += 2) tile_block<1, 2>(x, stride, rows, packed, depth, p, done);
        if (p < last) tile_block<1, 1>(x, stride, rows, packed, depth, p, done);
    }
}

template <class Done>
inline void product(const bf16 *x, int64_t stride, int rows, const bf16 *packed, int64_t depth, int64_t first,
                    int64_t last, const Done &done) {
    tile_product(x, stride, rows, packed, depth, first, last, done);
}

#else

struct Tiles {
    void use(int) {}
};

#endif

template <class Weight, class Done>
inline void product(const float *x, int64_t stride, int rows, const Weight *packed, int64_t depth, int64_t first,
                    int64_t last, const Done &done) {
    vector_product(x, stride, rows, packed, depth, first, last, done);
}

constexpr int64_t kChunk = 4 * kRows;  // rows that stay in the core's cache while weights pass by

// Cuts a product of many rows: calls `work(row, rows, first panel, last panel)` for blocks of at most kRows rows and two
// panels, each once, in an order that reads weights from memory once for every kChunk rows.
template <class Work>
inline void each_block(Tiles &tiles, int64_t rows, int64_t first, int64_t last, const Work &work) {
    const auto sweep = [&](int64_t start, int64_t end, int block) {
        tiles.use(block);
        for (int64_t p = first; p < last; p += 2)
            for (int64_t row = start; row < end; row += block) work(row, block, p, std::min(p + 2, last));
    };
    for (int64_t start = 0; start < rows; start += kChunk) {
        const int64_t end = std::min(start + kChunk, rows), whole = start + (end - start) / kRows * kRows;
        if (whole > start) sweep(start, whole, kRows);
        if (end > whole) sweep(whole, end, (int)(end - whole));
    }
}

// Where each member of a team stands in its own share; a cache line apart.
struct Taken {
    alignas(64) std::atomic<int64_t> pieces{0};
};

// Shares a product's panels out among a team. Each member goes through a share of its own, in order, so that it reads
// memory in one stream, and then helps the others with theirs, so that nobody waits for one whose processor is busy with
// something else. `taken` has a place for every member, 0 at first.
template <class Work>
inline void share_panels(const Team &team, Tiles &tiles, Taken *taken, int64_t rows, int64_t count, const Work &work) {
    if (team.size() == 1) return each_block(tiles, rows, 0, count, work);
    constexpr int64_t kPieces = 8;  // of each share, at most
    for (int other = 0; other < team.size(); other++) {
        const int owner = (team.member() + other) % team.size();
        const int64_t first = count * owner / team.size(), last = count * (owner + 1) / team.size();
        const int64_t size = std::max<int64_t>(2, ((last - first) / kPieces + 1) / 2 * 2);
        for (int64_t at; (at = first + size * taken[owner].pieces.fetch_add(1, std::memory_order_relaxed)) < last;)
            each_block(tiles, rows, at, std::min(at + size, last), work);
    }
}

}  // namespace freehold
