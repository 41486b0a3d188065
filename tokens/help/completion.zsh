# Completion of gitlab-tokens in zsh. In ~/.zshrc, after compinit:
#   eval "$(gitlab-tokens --print-completion-script zsh)"

_gitlab_tokens() {
    local answer
    local -a found open
    if ! answer=$("${words[1]}" --complete -- "${(@Q)words[1,CURRENT]}" 2> /dev/null); then
        _files
        return
    fi
    found=(${(f)answer})
    open=(${(M)found:#*(:|//)})
    found=(${found:#*(:|//)})
    compadd -- $found
    compadd -S '' -- $open
}

(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _gitlab_tokens gitlab-tokens
