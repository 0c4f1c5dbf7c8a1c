# The code that a skewed process runs instead of three functions of its vDSO, for
# x86-64. It lies in the zeros behind the ELF image in the process's own copy of
# the vDSO's pages, wherever those are mapped. Assembled by assemble.sh into
# amd64.bin; layout.go knows the offsets of everything before "entry".
#
# It calls no function of the process, uses only registers that a called function
# may change, and less than 100 bytes of stack besides what the vDSO itself uses.
        .text
        .globl _start
_start:
        .ascii "DAPPLSKW"       # 0x00 by this a patched process is known, without any record
        .long   1               # 0x08 version of this layout
        .long   end - _start    # 0x0c size
deadline: .quad 0               # 0x10 the lease ends here, ns of the true CLOCK_REALTIME; 0: over
window: .quad   0               # 0x18 a lease that ends further away than this is over too
offset: .quad   0               # 0x20 ns that are added
rate:   .quad   0               # 0x28 and for each ns since t0, times 2^-32
t0:     .quad   0               # 0x30 ns of the true CLOCK_REALTIME
period: .quad   0               # 0x38 of every second span of so many ns since t0, offset is not added
tai:    .quad   0               # 0x40 ns that CLOCK_TAI is ahead of CLOCK_REALTIME
hooks:  .fill   4,2,0           # 0x48 how many functions are replaced; their offsets in the vDSO
saved:  .fill   3,8,0           # 0x50 the first 8 bytes of each as the kernel made them
true:   .fill   72,1,0xcc       # 0x68 the true clock_gettime: its first instructions, then a jump to the rest

entry:                          # 0xb0 clock_gettime(edi clock, rsi timespec)
clock_gettime:
        cmp     $11, %edi
        ja      true            # clocks of processors, of devices, and those to come
        mov     $0x821, %eax    # 0 REALTIME, 5 REALTIME_COARSE, 11 TAI
        bt      %edi, %eax
        jnc     true
        push    %rdi
        push    %rsi
        sub     $8, %rsp
        call    true
        add     $8, %rsp
        pop     %rsi
        pop     %rdi
        test    %eax, %eax
        jnz     1f
        xor     %r8d, %r8d
        cmp     $11, %edi
        cmove   tai(%rip), %r8
        call    skew
        xor     %eax, %eax
1:      ret

        .balign 16
gettimeofday:                   # 0xf0 gettimeofday(rdi timeval, rsi timezone)
        push    %rdi
        test    %rsi, %rsi
        jz      2f
        xor     %edi, %edi      # the zone is the kernel's to say
        mov     $96, %eax
        syscall
2:      xor     %eax, %eax
        mov     (%rsp), %rdi
        test    %rdi, %rdi
        jz      1f
        mov     %rdi, %rsi      # a timeval has the size of a timespec
        xor     %edi, %edi
        call    clock_gettime
        mov     (%rsp), %rdi
        mov     8(%rdi), %rax
        xor     %edx, %edx
        mov     $1000, %ecx
        div     %rcx
        mov     %rax, 8(%rdi)
        xor     %eax, %eax
1:      pop     %rdi
        ret

        .balign 16
time:                           # 0x130 time(rdi seconds)
        push    %rdi
        sub     $16, %rsp
        mov     $5, %edi        # time(2) reads the coarse clock
        mov     %rsp, %rsi
        call    clock_gettime
        mov     (%rsp), %rax
        add     $16, %rsp
        pop     %rdi
        test    %rdi, %rdi
        jz      1f
        mov     %rax, (%rdi)
1:      ret

        .balign 16
skew:                           # changes the timespec at rsi, which is r8 ns ahead of REALTIME
        imul    $1000000000, (%rsi), %rdi
        add     8(%rsi), %rdi
        mov     %rdi, %r9
        sub     %r8, %r9        # the true time
        mov     deadline(%rip), %rax
        sub     %r9, %rax
        cmp     window(%rip), %rax
        ja      9f              # past the deadline, or the clock was set back before it
        mov     offset(%rip), %r10
        sub     t0(%rip), %r9   # how long it is skewed
        mov     period(%rip), %rcx
        test    %rcx, %rcx
        jz      1f
        mov     %r9, %rax
        cqo
        idiv    %rcx
        test    $1, %al
        jz      1f
        xor     %r10d, %r10d
1:      mov     rate(%rip), %rax
        test    %rax, %rax
        jz      2f
        imul    %r9
        shrd    $32, %rdx, %rax
        add     %rax, %r10
2:      mov     %rdi, %rax
        add     %r10, %rax
        jns     3f
        xor     %eax, %eax      # not before 1970
3:      xor     %edx, %edx
        mov     $1000000000, %ecx
        div     %rcx
        mov     %rax, (%rsi)
        mov     %rdx, 8(%rsi)
9:      ret
        .balign 16
end:
