/* descriptors.S - the compiled FileDescriptorSet of every .proto, as bytes of the binary: what
 * reflection answers from. OMEN_DESCRIPTOR_SET is the file's path, set by CMake. */
    .section .rodata
    .balign 8
    .global omen_descriptor_set
    .global omen_descriptor_set_end
omen_descriptor_set:
    .incbin OMEN_DESCRIPTOR_SET
omen_descriptor_set_end:
    .byte 0
    .section .note.GNU-stack,"",%progbits
