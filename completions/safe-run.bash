# bash completion for safe-run
_safe_run() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words=
    case $prev in
    --policy | --mount-allowlist | --events | --key | --attestation | --out | -o | --output)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    --workdir-base | --output-dir | --artifacts | --root) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
    --from)
        words='oci-archive: oci: docker-archive: dir: tar:'
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
        compopt -o nospace
        return
        ;;
    --accel) words='auto kvm tcg' ;;
    --vmm) words=qemu ;;
    --format) words='text json'; [ "${COMP_WORDS[2]}" != export ] || words=ocsf ;;
    --cause) words='workload timeout interrupted guest-oom host-oom vmm setup cleanup' ;;
    --result) words='pass fail' ;;
    --retention) words='30d 180d 365d forever' ;;
    *)
        case ${COMP_WORDS[1]}:$COMP_CWORD in
        *:1) words='validate compile policy run image key ps stop gc report archive doctor version help' ;;
        policy:2) words='init explain why diff schema --help' ;;
        image:2) words='build ls inspect rm prune verify --help' ;;
        archive:2) words='ls search show verify prove prune export import reindex --help' ;;
        report:2) words='verify show html diff export attest archive --help' ;;
        key:2) words='generate --help' ;;
        validate:*) words='--mount-allowlist --format --help' ;;
        compile:*) words='--dry-run --policy --mount-allowlist --help' ;;
        run:*) words='--policy --mount-allowlist --stdin --timeout --json --accel --vmm --output-dir --workdir-base --rehash
            --keep --verbose --help' ;;
        ps:*) words='--json --workdir-base --help' ;;
        stop:*) words="--kill --timeout --workdir-base --help $(safe-run ps 2> /dev/null | awk 'NR > 1 { print $1 }')" ;;
        image:*) words="--from --max-bytes --json --dry-run --help
            $(safe-run image ls 2> /dev/null | awk 'NR > 1 { print $1 }')" ;;
        doctor:*) words='--json --workdir-base --help' ;;
        gc:*) words='--dry-run --older-than --workdir-base --help' ;;
        policy:*) words='--mount-allowlist --format --exit-code --help' ;;
        archive:*) words='--root --json --limit --pruned --run --bundle --policy --label --command --exit-code --cause --result --since
            --until --reached --denied --hash --checkpoint --proof --key --report --out --dry-run --all --retention --help' ;;
        report:*)
            case ${COMP_WORDS[2]} in
            verify) words='--events --artifacts --key --attestation --format --text --json --help' ;;
            show) words='--artifacts --key --help' ;;
            html) words='--output --artifacts --key --help' ;;
            diff) words='--exit-code --help' ;;
            export) words='--format --output --artifacts --help' ;;
            attest) words='--key --help' ;;
            archive) words='--root --retention --json --help' ;;
            esac
            ;;
        key:*) words='--out --help' ;;
        esac
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    [ ${#COMPREPLY[@]} -gt 0 ] || [ "$COMP_CWORD" -eq 1 ] || mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}
complete -F _safe_run safe-run
