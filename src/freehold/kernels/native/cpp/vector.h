// Sixteen numbers at a time, in GCC's and Clang's vector extensions: the compiler turns them into whatever the target
// has (one AVX-512 register, two of AVX2). Everything is computed in float32; bfloat16 is a storage format.
#pragma once

#include <cstdint>
#include <cstring>
#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace freehold {

constexpr int kWidth = 16;

typedef float Vec __attribute__((vector_size(64)));
typedef int32_t IntVec __attribute__((vector_size(64)));
typedef uint32_t BitVec __attribute__((vector_size(64)));
typedef uint16_t HalfBits __attribute__((vector_size(32)));

struct bf16 {
    uint16_t bits;
};

inline Vec splat(float x) { return Vec{} + x; }

inline Vec load(const float *p) {
    Vec v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

inline void store(float *p, Vec v) { std::memcpy(p, &v, sizeof v); }

// What GCC 12 makes of converting between these widths is several times slower than the instruction for it.
inline Vec load(const bf16 *p) {
#if defined(__AVX512F__)
    return (Vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16);
#elif defined(__AVX2__)
    typedef int32_t Eight __attribute__((vector_size(32)));
    const __m256i low = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    const __m256i high = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p + 1));
    Eight part[2] = {(Eight)_mm256_slli_epi32(low, 16), (Eight)_mm256_slli_epi32(high, 16)};
    Vec v;
    std::memcpy(&v, part, sizeof v);
    return v;
#else
    HalfBits h;
    std::memcpy(&h, p, sizeof h);
    return (Vec)(__builtin_convertvector(h, BitVec) << 16);
#endif
}

// Rounds to the nearest, ties to even; a NaN stays one.
inline void store(bf16 *p, Vec v) {
    BitVec u = (BitVec)v;
    BitVec rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    BitVec nan = (BitVec)(v != v);
    BitVec kept = (rounded & ~nan) | (nan & 0x7fc0u);
#ifdef __AVX512F__
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16((__m512i)kept));
#else
    HalfBits h = __builtin_convertvector(kept, HalfBits);
    std::memcpy(p, &h, sizeof h);
#endif
}

inline float widen(float x) { return x; }
inline float widen(bf16 x) {
    uint32_t u = (uint32_t)x.bits << 16;
    float f;
    std::memcpy(&f, &u, sizeof f);
    return f;
}

// The sum of a vector's numbers, always added in the same order.
inline float sum(Vec v) {
    float part[kWidth];
    store(part, v);
    for (int width = kWidth / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) part[i] += part[i + width];
    return part[0];
}

inline float largest(Vec v) {
    float part[kWidth];
    store(part, v);
    for (int width = kWidth / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) part[i] = part[i + width] > part[i] ? part[i + width] : part[i];
    return part[0];
}

inline Vec larger(Vec a, Vec b) {
    IntVec more = b > a;
    return (Vec)(((BitVec)a & ~(BitVec)more) | ((BitVec)b & (BitVec)more));
}

#ifdef __clang__
#define FREEHOLD_PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define FREEHOLD_PICK(a, b, ...) __builtin_shuffle(a, b, IntVec{__VA_ARGS__})
#endif

// Sums each of sixteen vectors; sum i stands in place i.
inline Vec sums(const Vec *v) {
    Vec a[8], b[4], c[2];
    for (int i = 0; i < 8; i++)  // halves: of v[i], of v[i + 8]
        a[i] = FREEHOLD_PICK(v[i], v[i + 8], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
               FREEHOLD_PICK(v[i], v[i + 8], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    for (int i = 0; i < 4; i++)  // quarters
        b[i] = FREEHOLD_PICK(a[i], a[i + 4], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
               FREEHOLD_PICK(a[i], a[i + 4], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    for (int i = 0; i < 2; i++)  // eighths
        c[i] = FREEHOLD_PICK(b[i], b[i + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
               FREEHOLD_PICK(b[i], b[i + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    return FREEHOLD_PICK(c[0], c[1], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
           FREEHOLD_PICK(c[0], c[1], 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
}

// e^x, to 2 units in the last place; 0 under -87.3, infinity over 88.7, NaN for NaN.
// Cephes' expf: x = n ln 2 + r, a polynomial in r, and n put into the exponent.
inline Vec exp(Vec x) {
    const Vec clamped = larger(splat(-87.33654f), -larger(-x, splat(-88.72283f)));
    Vec n = clamped * 1.44269504088896341f;
    const Vec shift = splat(12582912.0f);  // 1.5 * 2^23 leaves the nearest whole number in the low bits
    const Vec shifted = n + shift;
    n = shifted - shift;
    Vec r = clamped - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    Vec y = splat(1.9875691500e-4f);
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    // in two halves, since 2^128 itself is no float
    const IntVec whole = __builtin_convertvector(n, IntVec);
    const IntVec half = whole >> 1;
    y = y * (Vec)((half + 127) << 23) * (Vec)((whole - half + 127) << 23);
    const BitVec low = (BitVec)(x < -87.33654f), high = (BitVec)(x > 88.72283f), nan = (BitVec)(x != x);
    const BitVec infinity = BitVec{} + 0x7f800000u;
    return (Vec)(((BitVec)y & ~(low | high | nan)) | (infinity & high) | ((BitVec)x & nan));
}

inline Vec silu(Vec x) { return x / (exp(-x) + 1.0f); }

}  // namespace freehold
